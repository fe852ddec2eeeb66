"""What short runs of an energy draw, and what longer ones make of it (thesis, Fig. 5.1, 5.2, 5.3, on toy data).

    python benchmarks/short_run.py [--out docs/families/short-run.png]

draws for each ODE flow, in a row: data; samples at the time T that it was trained for; the logarithms of the flow's
density and of the energy's, -E(x), which is another; where the same samples are at 2 T and 8 T; and where a straight
line between two starts ends up (interpolation).
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import matplotlib
import torch

import dgmcore
from dgmcore.data import as_tensor, open_data
from dgmcore.noise import IndexedNoise

matplotlib.use("Agg")
from matplotlib import pyplot

ENTRIES = ("odeflow-9gaussians-ml", "odeflow-9gaussians", "odeflow-swissroll-ml", "odeflow-swissroll")
CELLS = 90


@torch.no_grad()
def row(axes: Any, name: str, n: int) -> None:
    """Draws the panels of one flow."""

    model = dgmcore.load(name)
    data = as_tensor(open_data(f"{model.entry.data.dataset}:test"), n)
    half = 1.25 * float(data.abs().max())
    x = model.sample(IndexedNoise(0, n))
    points = {"data": data, "samples at T": x}
    for k in range(1, 8):
        x = model.solve(x, model.sampling())
        points |= {1: {"2 T": x}, 7: {"8 T": x}}.get(k, {})
    line = torch.linspace(-half, half, CELLS)
    grid = torch.cartesian_prod(line, line)
    fields = {"log density": model.log_prob(grid), "-E(x)": model.score(grid)}
    titles = ["data", "samples at T", "log density", "-E(x)", "2 T", "8 T"]
    for axis, title in zip(axes, titles, strict=False):
        if title in points:
            axis.plot(*points[title].T, ".", ms=1)
        else:
            shown = (fields[title] - fields[title].max()).clamp_min(-12).reshape(CELLS, CELLS).T
            axis.imshow(shown, origin="lower", extent=(-half, half) * 2, cmap="viridis")
        axis.set_title(title)
    starts = torch.linspace(-2, 2, 400)[:, None] * torch.tensor([1.0, 0.5])
    axes[6].plot(*data.T, ".", ms=0.5, alpha=0.3)
    axes[6].plot(*starts.T, "--", color="grey")
    axes[6].plot(*model.decode(starts).T, "-", color="tab:red")
    axes[6].set_title("a line of starts")
    axes[0].set_ylabel(name.removeprefix("odeflow-"))
    for axis in axes:
        axis.set(xlim=(-half, half), ylim=(-half, half), aspect="equal", xticks=[], yticks=[])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="points of a panel")
    parser.add_argument("--out", type=Path, default=Path("docs/families/short-run.png"))
    args = parser.parse_args()
    figure, axes = pyplot.subplots(len(ENTRIES), 7, figsize=(14, 2.1 * len(ENTRIES)), layout="constrained")
    for panels, name in zip(axes, ENTRIES, strict=True):
        row(panels, name, args.n)
    figure.savefig(args.out, dpi=60)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
