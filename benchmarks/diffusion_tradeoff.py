"""Quality against cost: a diffusion GAN beside a diffusion model (thesis, Figure 6.6).

    python benchmarks/diffusion_tradeoff.py [--out docs/families/diffusion-tradeoff.png]

draws FID against the number of passes through the network, and against seconds, and prints a line of JSON for each
point. FID is in the features of `lenet-fashion`, against the test images.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import dgmcore

#: What is measured: a label, an entry, its options, and the passes through the network for a sample.
POINTS = (
    *(("DDIM", "ddpm-fashion", {"sampler": "ddim", "steps": k}, k) for k in (4, 10, 20, 50)),
    *(("DPM-Solver++", "ddpm-fashion", {"sampler": "dpm-solver++", "steps": k}, k) for k in (4, 10, 20)),
    *(("DDPM", "ddpm-fashion", {"sampler": "ddpm", "steps": k}, k) for k in (20, 50, 100)),
    ("denoising diffusion GAN", "ddgan-fashion", {}, 4),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=1000, help="samples, and test images")
    parser.add_argument("--out", type=Path, default=Path("docs/families/diffusion-tradeoff.png"))
    args = parser.parse_args()
    models = {name: dgmcore.load(name) for name in sorted({name for _, name, _, _ in POINTS})}
    found = []
    for label, name, options, passes in POINTS:
        row = {"label": label, "model": name, **options, "passes": passes, **point(models[name], options, args.n)}
        print(json.dumps(row), flush=True)
        found.append(row)
    draw(found, args.n, args.out)


def point(model: dgmcore.Model, options: dict, n: int) -> dict[str, float]:
    """Returns the FID and the seconds that 100 samples take."""

    fid = dgmcore.evaluate(model, ["fid"], n=n, features="lenet-fashion", against="fashion:test", **options)[0].value
    start = time.perf_counter()
    dgmcore.sample(model, 100, seed=1, **options)
    return {"fid": round(fid, 3), "seconds": round(time.perf_counter() - start, 3)}


def draw(rows: list[dict], n: int, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.6), sharey=True, layout="constrained")
    for axis, key, title in zip(
        axes, ("passes", "seconds"), ("passes through the network", "seconds for 100 samples"), strict=True
    ):
        for label in dict.fromkeys(row["label"] for row in rows):
            mine = [row for row in rows if row["label"] == label]
            marker = "*" if len(mine) == 1 else "o"
            axis.plot(
                [r[key] for r in mine],
                [r["fid"] for r in mine],
                marker,
                ms=12 if marker == "*" else 5,
                ls="-",
                label=label,
            )
        axis.set(xlabel=title, xscale="log", yscale="log")
        axis.grid(alpha=0.3)
    axes[0].set_ylabel(f"FID in features of lenet-fashion, n = {n}")
    axes[1].legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


if __name__ == "__main__":
    main()
