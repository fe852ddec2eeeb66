"""Draws the README's picture: samples of models of several families, from the weights in the registry.

python docs/gallery.py [OUT.png]
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

import dgmcore
from dgmcore.sampling.pictures import picture, to_uint8

#: Models of points, side by side, and models of images, a row each; what is missing is left out.
POINTS = ("realnvp-moons", "vaebm-25gaussians", "schroedinger-moons-swissroll", "odeflow-9gaussians-ml")
IMAGES = (
    "glow-fashion",
    "vae-fashion",
    "vaebm-fashion",
    "flowmatching-fashion",
    "pixelcnn-fashion",
    "made-mnist",
    "dcgan-mnist",
    "nvae-celeba",
    "vaebm-celeba",
    "stylegan-celeba",
)
TILE, COLUMNS, LABEL, GAP = 64, 10, 150, 6
WIDTH = LABEL + COLUMNS * (TILE + GAP) + GAP


def plot(name: str, size: int) -> Image.Image:
    """Returns the scatter plot of a model of points."""

    model = dgmcore.load(name)
    file = Path(f".gallery-{name}.png")
    try:
        picture(model, dgmcore.sample(model, 4000, seed=0), file)
        with Image.open(file) as found:
            return found.convert("RGB").resize((size, size), Image.Resampling.LANCZOS)
    finally:
        file.unlink(missing_ok=True)


def row(name: str) -> Image.Image:
    """Returns a row of ten samples of a model of images."""

    model = dgmcore.load(name)
    x = to_uint8(dgmcore.sample(model, COLUMNS, seed=0), model.entry.data.range)
    image = Image.new("RGB", (COLUMNS * (TILE + GAP), TILE), "white")
    for i, tile in enumerate(x):
        picture = Image.fromarray(np.asarray(tile).squeeze()).convert("RGB").resize((TILE, TILE))
        image.paste(picture, (i * (TILE + GAP), 0))
    return image


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).parent / "gallery.png"
    known = {m["name"] for m in dgmcore.list_models() if m["available"]}
    points, images = [n for n in POINTS if n in known], [n for n in IMAGES if n in known]
    size = (WIDTH - GAP) // max(len(points), 1) - GAP
    top = size + 20 + 2 * GAP if points else GAP
    page = Image.new("RGB", (WIDTH, top + len(images) * (TILE + GAP)), "white")
    draw, font = ImageDraw.Draw(page), ImageFont.load_default(size=14)
    for i, name in enumerate(points):
        x = GAP + i * (size + GAP)
        page.paste(plot(name, size), (x, GAP))
        draw.text((x + size // 2, GAP + size + 2), name, fill="black", font=font, anchor="mt")
    for i, name in enumerate(images):
        y = top + i * (TILE + GAP)
        draw.text((GAP, y + TILE // 2 - 8), name, fill="black", font=font)
        page.paste(row(name), (LABEL, y))
    page.save(out)
    print(out)


if __name__ == "__main__":
    main()
