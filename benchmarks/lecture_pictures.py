r"""Ruthotto & Haber's pictures of flows and of the VAE, drawn from the shipped entries.

    python benchmarks/lecture_pictures.py [fig5 fig6 fig7 fig8 fig10] [--out docs/lecture]

fig5, fig6   `realnvp-moons` and `otflow-moons`: data, density with samples, the way of six latents through the hidden
             layers, and a histogram of the codes of 50,000 data
fig7         `vae-mnist-2d`: for two test images the true posterior on a grid, its maximum (MAP), the approximate
             posterior's mean, and the two reconstructions
fig8         the means of q(z | x) of the test images by class, the aggregate posterior (ten draws an image), 64 holes
             (where the prior is large and codes are few), and the images that are decoded there
fig10        the straight walk from (-1, -1) to (1, 1) in 20 steps, by the VAE, a DCGAN and a WGAN

Fig. 11 is in `gan_distance.py`, as it needs training.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from torch import Tensor

import dgmcore
from dgmcore.data import open_for
from dgmcore.noise import IndexedNoise

matplotlib.use("Agg")
from matplotlib import pyplot

#: Two test images whose true and approximate posteriors differ: the reconstruction of the first is another digit.
EXAMPLES = (8, 0)
WINDOW = (-2.0, 3.0, -1.5, 2.0)


@torch.no_grad()
def flow(name: str, path: Path) -> None:
    """Draws the four panels of Fig. 5 and 6 for a flow on moons."""

    model = dgmcore.load(name)
    data = open_for(model, "moons:test")
    figure, axes = pyplot.subplots(1, 4, figsize=(14, 3.6), layout="constrained")
    batch = data.take(np.arange(256))
    axes[0].plot(*batch.T, "s", color="tab:blue", ms=2)
    axes[0].set_title("a batch of the data")
    left, right, low, high = WINDOW
    grid = torch.cartesian_prod(torch.linspace(left, right, 150), torch.linspace(low, high, 120))
    density = model.log_prob(grid).exp().reshape(150, 120).T
    axes[1].imshow(density, origin="lower", extent=WINDOW, aspect="auto", cmap="Greys")
    axes[1].plot(*dgmcore.sample(model, 200, seed=1).T, "s", color="tab:blue", ms=2)
    axes[1].set_title("density and samples")
    way = torch.stack(list(model.trajectory(IndexedNoise(3, 6))))
    axes[2].plot(*batch.T, "s", color="tab:blue", ms=1, alpha=0.4)
    for i in range(6):
        axes[2].plot(*way[:, i].T, ".-", color="grey", lw=0.8, ms=3)
    axes[2].plot(*way[0].T, "o", color="tab:red", ms=5)
    axes[2].set_title("the way of six latents")
    codes = torch.cat([model.encode(data.take(np.arange(i, i + 5000))) for i in range(0, 50_000, 5000)])
    axes[3].hist2d(*codes.T.numpy(), bins=120, range=[(-3.5, 3.5)] * 2, cmap="viridis")
    axes[3].plot(*codes[:20].T, "o", color="tab:red", ms=3)
    axes[3].set_title("codes of 50,000 data")
    moments = f"{name}: codes' mean {tuple(round(float(v), 3) for v in codes.mean(0))}"
    print(f"{moments}, standard deviations {tuple(round(float(v), 3) for v in codes.std(0))}")
    finish(figure, path)


@torch.no_grad()
def log_posterior(model: Any, x: Tensor, cells: int, half: float) -> tuple[Tensor, Tensor]:
    """Returns a grid of z `(cells^2, 2)` and log p(x | z) + log p(z) there, normalised over the grid."""

    line = torch.linspace(-half, half, cells)
    z = torch.cartesian_prod(line, line)
    likelihood = torch.cat(
        [model.conditional(part).log_prob(x.expand(len(part), -1, -1, -1)) for part in z.split(2000)]
    )
    joint = likelihood - z.square().sum(1) / 2
    return z, joint - joint.logsumexp(0) - 2 * math.log(float(line[1] - line[0]))


@torch.no_grad()
def posteriors(path: Path, cells: int = 161, half: float = 4.0) -> None:
    """Draws Fig. 7: the true posterior and its maximum against the approximate one."""

    model = dgmcore.load("vae-mnist-2d")
    images = open_for(model, "mnist:test").take(np.array(EXAMPLES))
    figure, axes = pyplot.subplots(2, 5, figsize=(12, 4.8), layout="constrained")
    for row, x in zip(axes, images, strict=True):
        z, true = log_posterior(model, x, cells, half)
        q = model.posterior(model.features(x[None]))
        centre, mode = q.mu, z[true.argmax()][None]
        approximate = q.log_prob(z)
        kl = float((approximate.exp() * (approximate - true)).sum() * (2 * half / (cells - 1)) ** 2)
        print(f"MAP {mode[0].tolist()}, mean of q {centre[0].tolist()}, KL(q || true) {kl:.2f} nats")
        near = [float(mode[0, 0]) - 1, float(mode[0, 0]) + 1, float(mode[0, 1]) - 1, float(mode[0, 1]) + 1]
        for axis, values, title in ((row[1], true, "true log posterior"), (row[3], approximate, "log q(z | x)")):
            shown = (values - values.max()).clamp_min(-20).reshape(cells, cells).T
            axis.imshow(shown, origin="lower", extent=(-half, half) * 2, cmap="viridis")
            axis.plot(*mode.T, "s", color="tab:blue", ms=6, mec="white")
            axis.plot(*centre.T, "o", color="tab:red", ms=5, mec="white")
            axis.axis(near)
            axis.set_title(title)
        for axis, picture, title in (
            (row[0], x, "image"),
            (row[2], model.decode(mode)[0], "decoded MAP"),
            (row[4], model.decode(centre)[0], "decoded mean of q"),
        ):
            axis.imshow(picture[0], cmap="gray")
            axis.set_axis_off()
            axis.set_title(title)
    finish(figure, path)


@torch.no_grad()
def latents(path: Path, draws: int = 10, holes: int = 64) -> None:
    """Draws Fig. 8: means by class, the aggregate posterior, its holes, and what is decoded there."""

    model = dgmcore.load("vae-mnist-2d")
    data = open_for(model, "mnist:test")
    index = np.arange(len(data))
    q = [model.posterior(model.features(data.take(part))) for part in np.array_split(index, 10)]
    means = torch.cat([p.mu for p in q])
    noise = IndexedNoise(0, len(index)).normal(draws, 2)
    z = torch.cat(
        [p.push(noise[part, i]) for i in range(draws) for p, part in zip(q, np.array_split(index, 10), strict=True)]
    )
    figure, axes = pyplot.subplots(1, 4, figsize=(15, 3.8), layout="constrained")
    labels = data.labels(index)
    shown = axes[0].scatter(*means.T, c=labels, s=1, cmap="tab10")
    figure.colorbar(shown, ax=axes[0], ticks=range(10))
    axes[0].set_title("means of q(z | x) by class")
    cells, half = 60, 3.5
    area = (2 * half / cells) ** 2
    counts, edges, _ = np.histogram2d(*z.T.numpy(), bins=cells, range=[(-half, half)] * 2)
    middle = torch.from_numpy((edges[1:] + edges[:-1]) / 2).float()
    centres = torch.cartesian_prod(middle, middle)
    prior = (-centres.square().sum(1) / 2).exp() / (2 * math.pi)
    lack = prior - torch.from_numpy(counts / counts.sum() / area).float().flatten()
    largest = lack.argsort(descending=True)[: len(lack) * 2000 // 10_000]
    chosen = largest[torch.from_numpy(np.random.default_rng(0).permutation(len(largest))[:holes])]
    points = centres[chosen]
    points = points[points[:, 0].argsort()]
    for axis, title in ((axes[1], "aggregate posterior"), (axes[2], "64 of its holes")):
        axis.imshow(counts.T, origin="lower", extent=(-half, half) * 2, cmap="viridis")
        axis.set_title(title)
    axes[2].plot(*points.T, "o", color="tab:red", ms=2)
    tiles = model.decode(points)[:, 0].reshape(8, 8, 28, 28).permute(0, 2, 1, 3).reshape(224, 224)
    axes[3].imshow(tiles, cmap="gray")
    axes[3].set_axis_off()
    axes[3].set_title("decoded there, by z1")
    mass = float(prior[lack > prior / 2].sum() * area)
    print(f"prior mass where the aggregate posterior has less than half of it: {100 * mass:.0f} %")
    print(f"standard deviations of the aggregate posterior: {z.std(0).tolist()}")
    finish(figure, path)


@torch.no_grad()
def walks(path: Path, steps: int = 20) -> None:
    """Draws Fig. 10: images along the straight line from (-1, -1) to (1, 1)."""

    line = torch.linspace(-1, 1, steps)[:, None].expand(steps, 2)
    rows = []
    for name in ("vae-mnist-2d", "dcgan-mnist-vaeinit", "wgan-mnist-vaeinit"):
        model = dgmcore.load(name)
        images = model.decode(line) if model.can("encoder") else model.push({"z": line})
        rows.append(images[:, 0].permute(1, 0, 2).reshape(28, 28 * steps))
    figure, axis = pyplot.subplots(figsize=(14, 2.3), layout="constrained")
    axis.imshow(torch.cat(rows), cmap="gray")
    axis.set_xticks([])
    axis.set_yticks([14, 42, 70], ["VAE", "DCGAN", "WGAN"])
    finish(figure, path)


def finish(figure: Any, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=72)
    print(f"wrote {path}")


def main() -> None:
    drawn = {
        "fig5": lambda path: flow("realnvp-moons", path),
        "fig6": lambda path: flow("otflow-moons", path),
        "fig7": posteriors,
        "fig8": latents,
        "fig10": walks,
    }
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("figures", nargs="*", metavar="FIGURE", help=", ".join(drawn) + "; all by default")
    parser.add_argument("--out", type=Path, default=Path("docs/lecture"), help="folder of the pictures")
    args = parser.parse_args()
    for name in args.figures or drawn:
        if name not in drawn:
            parser.error(f"no figure {name}; there are {', '.join(drawn)}")
        drawn[name](args.out / f"{name}.png")


if __name__ == "__main__":
    main()
