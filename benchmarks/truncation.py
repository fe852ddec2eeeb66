"""What truncation buys and costs: FID, precision and recall of a generator by its option `truncation`.

    python benchmarks/truncation.py [stylegan-celeba] [--n 1600] [--at 0 0.25 0.5 0.7 0.85 1]

prints a Markdown table and draws the three curves, above one row of samples for each value (the same noise in every
row) to `--out`. The data are as many test pictures as there are samples; the features are those of the entry's metrics.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import dgmcore

METRICS = ("fid", "precision", "recall")
COLUMNS = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="stylegan-celeba", help="an entry whose samples have the option")
    parser.add_argument("--n", type=int, default=1600, help="samples, and test pictures")
    parser.add_argument("--at", type=float, nargs="+", default=[0.0, 0.25, 0.5, 0.7, 0.85, 1.0], help="values")
    parser.add_argument("--out", type=Path, default=Path("docs/families/truncation.png"))
    args = parser.parse_args()
    model = dgmcore.load(args.name)
    print("| truncation | FID | precision | recall |\n| --- | --- | --- | --- |")
    rows = []
    for value in args.at:
        found = dgmcore.evaluate(model, list(METRICS), n=args.n, truncation=value)
        rows.append([metric.value for metric in found])
        fid, precision, recall = rows[-1]
        print(f"| {value:g} | {fid:.2f} | {precision:.3f} | {recall:.3f} |", flush=True)
    draw(model, args.at, rows, args.n, args.out)


def draw(model: dgmcore.Model, values: list[float], rows: list[list[float]], n: int, path: Path) -> None:
    """Draws the curves, and samples of one noise for each value."""

    import matplotlib

    matplotlib.use("Agg")
    import torch
    from matplotlib import pyplot

    low, high = model.entry.data.range
    pictures = [dgmcore.sample(model, COLUMNS, seed=0, truncation=value) for value in values]
    tiles = torch.cat([torch.cat(list(x), 2) for x in pictures], 1).sub(low).div(high - low).clamp(0, 1)
    figure = pyplot.figure(figsize=(9, 3.4 + 0.75 * len(values)), layout="constrained")
    axes = figure.subplot_mosaic([["fid", "others"], ["tiles", "tiles"]], height_ratios=[3.4, 0.75 * len(values)])
    for name, label, series in zip(METRICS, ("FID", "precision", "recall"), zip(*rows, strict=True), strict=True):
        axes["fid" if name == "fid" else "others"].plot(values, series, "o-", ms=4, label=label)
    for axis, label in (("fid", f"FID, n = {n}"), ("others", "share, k = 3")):
        axes[axis].set(xlabel="truncation", ylabel=label)
        axes[axis].grid(alpha=0.3)
    axes["others"].legend()
    axes["tiles"].imshow(tiles.permute(1, 2, 0).squeeze(-1), cmap="gray", interpolation="nearest")
    side = tiles.shape[1] / len(values)
    axes["tiles"].set_yticks([(i + 0.5) * side for i in range(len(values))], [f"{value:g}" for value in values])
    axes["tiles"].set(xticks=[], ylabel="truncation")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
