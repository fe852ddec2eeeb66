"""Drawings that become garments, and what a denoising diffusion GAN sees behind noise (thesis, Fig. 6.13 to 6.15).

    python benchmarks/ddgan_pictures.py [--name ddgan-fashion] [--out docs/families]

writes two pictures and the drawings themselves (`drawing-*.png`, for `dgm sample --init`):

ddgan-strokes.png    a painted garment in each column; below it four samples that start from it (`strength` 0.5)
ddgan-x0.png         a garment in each pair of rows: x_t for t = 0 to T, and below each three draws of
                     p(x_0 | x_t) with other latents
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageDraw
from torch import Tensor

import dgmcore
from dgmcore.data import open_for
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.pictures import to_uint8

#: Strokes on a 28 x 28 canvas: polygons with a grey value, as a child would paint a garment.
DRAWINGS = {
    "shirt": [((3, 7, 9, 3, 18, 3, 24, 7, 22, 13, 19, 10, 19, 25, 8, 25, 8, 10, 5, 13), 200)],
    "trousers": [((8, 3, 19, 3, 21, 26, 15, 26, 14, 11, 12, 26, 6, 26), 160)],
    "dress": [((11, 2, 16, 2, 17, 12, 21, 26, 6, 26, 10, 12), 220)],
    "shoe": [((2, 15, 7, 10, 14, 15, 25, 17, 26, 21, 2, 21), 180)],
    "bag": [
        ((4, 11, 23, 11, 25, 24, 2, 24), 130),
        ((9, 4, 18, 4, 20, 11, 7, 11), 130),
        ((11, 6, 16, 6, 17, 11, 10, 11), 0),
    ],
    "boot": [((9, 3, 17, 3, 17, 15, 24, 20, 24, 25, 8, 25), 110)],
}


def drawing(strokes: list[tuple[tuple[int, ...], int]]) -> Image.Image:
    """Returns a painted garment, 28 x 28 grey pixels."""

    image = Image.new("L", (28, 28))
    for polygon, grey in strokes:
        ImageDraw.Draw(image).polygon(polygon, fill=grey)
    return image


def montage(rows: list[Tensor], path: Path, scale: int = 2) -> None:
    """Writes rows of images `(n, 1, h, w)` in [-1, 1]."""

    grid = np.concatenate([np.concatenate([*to_uint8(row, (-1.0, 1.0))[..., 0]], 1) for row in rows], 0)
    image = Image.fromarray(grid)
    image.resize((image.width * scale, image.height * scale), Image.Resampling.NEAREST).save(path)
    print(f"wrote {path}")


@torch.no_grad()
def strokes(model: dgmcore.Model, out: Path, strength: float) -> None:
    pictures = {name: drawing(polygons) for name, polygons in DRAWINGS.items()}
    columns = []
    for i, (name, picture) in enumerate(pictures.items()):
        picture.save(out / f"drawing-{name}.png")
        start = torch.from_numpy(np.asarray(picture) / 127.5 - 1).float()[None]
        drawn = model.sample(IndexedNoise(i, 4), init=start, strength=strength)
        columns.append(torch.cat([start[None], drawn]))
    montage(list(torch.stack(columns, 1)), out / "ddgan-strokes.png")


@torch.no_grad()
def clean(model: dgmcore.Model, out: Path, draws: int = 3) -> None:
    steps = model.config.steps
    x0 = open_for(model, "fashion:test").take(np.array([0, 2, 11]))
    states = [x0]
    noise = IndexedNoise(0, len(x0))
    for t in range(1, steps + 1):
        states.append(model.diffusion.diffuse(x0, torch.full((len(x0),), t), noise.normal(1, 28, 28, name=f"{t}")))
    seen = []
    for t in range(steps):
        z = IndexedNoise(1 + t, draws * len(x0)).normal(model.config.latent)
        after = states[t + 1].repeat_interleave(draws, 0)
        seen.append(model.clean(after, torch.full((len(after),), t), z).unflatten(0, (len(x0), draws)))
    rows = []
    for i in range(len(x0)):
        rows.append(torch.stack([state[i] for state in states]))
        blank = -torch.ones(1, 1, 28, 28)
        rows += [torch.cat([blank, *(s[i, k][None] for s in seen)]) for k in range(draws)]
    montage(rows, out / "ddgan-x0.png")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--name", default="ddgan-fashion", help="an entry of denoising diffusion GAN, 28 x 28 pictures")
    parser.add_argument("--out", type=Path, default=Path("docs/families"), help="folder of the pictures")
    parser.add_argument("--strength", type=float, default=0.5, help="of the drawings, the share of the diffusion")
    args = parser.parse_args()
    model = dgmcore.load(args.name)
    strokes(model, args.out, args.strength)
    clean(model, args.out)


if __name__ == "__main__":
    main()
