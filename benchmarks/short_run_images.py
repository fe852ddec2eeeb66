"""What short runs of energies of pictures draw, how they interpolate, and how they train (thesis, Fig. 5.1, 5.2, 5.9).

    python benchmarks/short_run_images.py [--out docs/families/short-run-images.png] [--runs runs]

draws for each entry, in a row: six samples where they are after T, the run that trained the energy, after 2 T and after
4 T (Fig. 5.1); what starts between two draws of noise, z = r z1 + sqrt(1 - r^2) z2, end up as (Fig. 5.2); and, where
the folder of its training is still there, the loss over the steps (Fig. 5.9).
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import matplotlib
import torch
from torch import Tensor

import dgmcore
from dgmcore.noise import IndexedNoise

matplotlib.use("Agg")
from matplotlib import pyplot

ENTRIES = ("ebm-fashion", "shortrun-fashion")
SHOWN, BETWEEN, TIMES = 6, 12, (1, 2, 4)


@torch.no_grad()
def run(model: Any, x: Tensor, seed: int) -> Tensor:
    """Returns where one run of the length T takes the states `x`."""

    if hasattr(model, "solve"):  # noise-free
        return model.solve(x, model.sampling())
    for state in model.chain(x, IndexedNoise(seed, len(x)).child("langevin"), model.sampling()):
        x = state
    return x


def tiles(x: Tensor, columns: int) -> Tensor:
    """Returns pictures `(n, 1, h, w)` side by side, in [0, 1]."""

    shown = ((x.clamp(-1, 1) + 1) / 2).squeeze(1)
    rows = [torch.cat(list(row), 1) for row in shown.split(columns)]
    return torch.cat(rows, 0)


def row(axes: Any, name: str, runs: Path) -> None:
    """Draws the panels of one entry."""

    model = dgmcore.load(name)
    x = model.start(IndexedNoise(0, 2 * SHOWN))
    for k in range(1, max(TIMES) + 1):
        x = run(model, x, k)
        if k in TIMES:
            axis = axes[TIMES.index(k)]
            axis.imshow(tiles(x, SHOWN), cmap="gray", vmin=0, vmax=1)
            axis.set_title("after T" if k == 1 else f"after {k} T")
    ends = model.start(IndexedNoise(1, 4))
    share = torch.linspace(0, 1, BETWEEN // 2)[:, None, None, None]
    starts = torch.cat([share * a + (1 - share**2).sqrt() * b for a, b in (ends[:2], ends[2:])])
    axes[3].imshow(tiles(run(model, starts, 0), BETWEEN // 2), cmap="gray", vmin=0, vmax=1)
    axes[3].set_title("starts between two")
    for axis in axes[:4]:
        axis.set(xticks=[], yticks=[])
    axes[0].set_ylabel(name.removesuffix("-fashion"))
    log = runs / name / "log.jsonl"
    if log.is_file():
        lines = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
        points = [(line["step"], line["loss"]) for line in lines if "loss" in line]
        axes[4].plot(*zip(*points, strict=True), lw=0.8)
        axes[4].set_yscale("symlog", linthresh=10)
    axes[4].set_title("loss")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("docs/families/short-run-images.png"))
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="where `dgm train` left its folders")
    args = parser.parse_args()
    figure, axes = pyplot.subplots(len(ENTRIES), 5, figsize=(16, 1.5 * len(ENTRIES) + 0.4), layout="constrained")
    for panels, name in zip(axes, ENTRIES, strict=True):
        row(panels, name, args.runs)
    figure.savefig(args.out, dpi=60)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
