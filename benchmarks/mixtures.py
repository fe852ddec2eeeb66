"""Four generators of 25 Gaussians side by side (thesis, Fig. 6.9): one picture.

    python benchmarks/mixtures.py [--out docs/families/mixtures.png]

draws data and 2,000 samples of a GAN, a Wasserstein GAN, a diffusion model and a denoising diffusion GAN, and prints
covered modes and the share of 10,000 samples within 3 standard deviations of one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import dgmcore
from dgmcore.data import as_tensor, open_data

#: Titles, entries and their sampling options; the diffusion model in 100 steps and, as it was in the thesis, in fewer.
PANELS = (
    ("GAN", "nsgan-25gaussians", {}),
    ("WGAN-GP", "wgangp-25gaussians", {}),
    ("DDPM, 100 steps", "ddpm-25gaussians", {}),
    ("DDPM, 4 steps", "ddpm-25gaussians", {"steps": 4}),
    ("DDGAN, 4 steps", "ddgan-25gaussians", {}),
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--n", type=int, default=2000, help="points of a panel")
    parser.add_argument("--out", type=Path, default=Path("docs/families/mixtures.png"))
    args = parser.parse_args()
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 1 + len(PANELS), figsize=(2.6 * (1 + len(PANELS)), 2.9), layout="constrained")
    axes[0].plot(*as_tensor(open_data("25gaussians:test"), args.n).T, ".", ms=1)
    axes[0].set_title("data")
    for axis, (title, name, options) in zip(axes[1:], PANELS, strict=True):
        metrics = dgmcore.evaluate(name, ["modes", "within-3-sigma"], n=10_000, **options)
        row = {"title": title, "entry": name, **options, **{metric.name: metric.value for metric in metrics}}
        print(json.dumps(row), flush=True)
        axis.plot(*dgmcore.sample(name, args.n, seed=0, **options).T, ".", ms=1)
        axis.set_title(f"{title}: {100 * row['within-3-sigma']:.0f} %")
    for axis in axes:
        axis.set(xlim=(-2.8, 2.8), ylim=(-2.8, 2.8), aspect="equal", xticks=[], yticks=[])
    figure.savefig(args.out, dpi=90)
    print(f"wrote {args.out}")


if __name__ == "__main__":
    main()
