"""Draws the README's picture: a row of samples for each family, from the weights in the registry.

python docs/gallery.py [OUT.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import dgmcore
from dgmcore.sampling.pictures import picture, to_uint8

#: One model of each family; what is missing is left out.
MODELS = (
    "realnvp-moons",
    "glow-fashion",
    "vae-fashion",
    "nvae-celeba",
    "vaebm-celeba",
    "vaebm-fashion",
    "vaebm-25gaussians",
    "ebm-25gaussians",
    "dcgan-mnist",
    "ddpm-fashion",
    "pixelcnn-fashion",
    "made-mnist",
)
TILE, COLUMNS, LABEL, GAP = 64, 10, 150, 6


def row(name: str) -> Image.Image:
    """Returns a row of ten samples of an image model, or a scatter plot of a model of points."""

    model = dgmcore.load(name)
    entry = model.entry
    if len(model.event_shape) == 3:
        x = to_uint8(dgmcore.sample(model, COLUMNS, seed=0), entry.data.range)
        tiles = [Image.fromarray(np.asarray(t).squeeze()).convert("RGB").resize((TILE, TILE)) for t in x]
        image = Image.new("RGB", (COLUMNS * (TILE + GAP), TILE), "white")
        for i, tile in enumerate(tiles):
            image.paste(tile, (i * (TILE + GAP), 0))
        return image
    file = Path(f".gallery-{name}.png")
    try:
        picture(model, dgmcore.sample(model, 4000, seed=0), file)
        with Image.open(file) as plot:
            return plot.convert("RGB").resize((3 * TILE, 3 * TILE))
    finally:
        file.unlink(missing_ok=True)


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "gallery.png"
    known = {m["name"] for m in dgmcore.list_models() if m["available"]}
    rows = [(name, row(name)) for name in MODELS if name in known]
    height = sum(image.height + GAP for _, image in rows) + GAP
    page = Image.new("RGB", (LABEL + COLUMNS * (TILE + GAP) + GAP, height), "white")
    draw, font, y = ImageDraw.Draw(page), ImageFont.load_default(size=14), GAP
    for name, image in rows:
        draw.text((GAP, y + image.height // 2 - 8), name, fill="black", font=font)
        page.paste(image, (LABEL, y))
        y += image.height + GAP
    page.save(out)
    print(out)


if __name__ == "__main__":
    main()
