"""Models under observations, against what is known: posteriors on a grid, held-out pictures, classes, and their cost.

python benchmarks/given.py points            # total variation, two-sample test, R-hat
python benchmarks/given.py pictures          # misfit, spread, PSNR beside the mean's and the nearest neighbour's
python benchmarks/given.py labels            # agreement of two classifiers, FID
python benchmarks/given.py cost              # time over steps times the time of a gradient
"""

from __future__ import annotations

import argparse
import math
import time
from itertools import pairwise

import numpy as np
import torch

import dgmcore

POINTS = {
    "realnvp-moons": ("x0=0.5", (1.0, 0.3, 0.1, 0.03)),
    "nsf-moons": ("x0=0.5", (1.0, 0.3, 0.1, 0.03)),
    "vae-25gaussians": ("x0=0.5", (2.0, 1.0, 0.5, 0.1)),
    "vaebm-25gaussians": ("x0=0.5", (2.0, 1.0, 0.5, 0.1)),
}


# --- points -----------------------------------------------------------------------------------------


def log_density_on(model, x: torch.Tensor) -> torch.Tensor:
    """Returns the logarithm of a model's density at points, up to a constant; a VAE's by a sum over codes."""

    base = model.parts["base"] if model.parts else model
    if base.noise_shapes.keys() == {"z", "x"}:
        axis = torch.linspace(-5, 5, 401)
        z = torch.cartesian_prod(axis, axis)
        with torch.no_grad():
            zeros = torch.zeros(len(z), 2)
            mean = base.push({"z": z, "x": zeros})
            std = base.push({"z": z, "x": zeros + 1}) - mean
        heavy = -z.square().sum(1) / 2
        value = torch.cat([_marginal(part, mean, std, heavy) for part in x.split(256)])
    else:
        with torch.no_grad():
            value = torch.cat([base.log_prob(part) for part in x.split(8192)])
    if base is not model:
        with torch.no_grad():
            value = value + model.config.weight * torch.cat([model.critic_score(part) for part in x.split(8192)])
    return value


def _marginal(x, mean, std, heavy):
    near = -((x[:, None] - mean) / std).square().sum(2) / 2 - std.log().sum(1) + heavy
    return near.logsumexp(1)


def posterior_on_grid(model, seen, limits=(-6.0, 6.0), cells=600):
    """Returns the cells' centres `(cells,)` of both axes and their probabilities `(cells, cells)`."""

    step = (limits[1] - limits[0]) / cells
    axis = limits[0] + step * (torch.arange(cells) + 0.5)
    x = torch.cartesian_prod(axis, axis)
    value = torch.full((len(x),), -torch.inf)
    likelihood = seen.score(x)
    near = likelihood > likelihood.max() - 25  # elsewhere nothing is
    value[near] = log_density_on(model, x[near]) + likelihood[near]
    return axis, value.double().softmax(0).reshape(cells, cells)


def drawn_from_grid(axis, p, n, seed):
    generator = torch.Generator().manual_seed(seed)
    cells = torch.multinomial(p.flatten(), n, replacement=True, generator=generator)
    step = axis[1] - axis[0]
    jitter = (torch.rand(n, 2, generator=generator) - 0.5) * step
    return torch.stack([axis[cells // len(axis)], axis[cells % len(axis)]], 1) + jitter


def total_variation(x, y_axis, p, bins: int):
    """Returns the total variation of samples to cells' probabilities, on about `bins` bins of equal probability."""

    sums = p.sum(1).cumsum(0)
    rows = max(1, round(math.sqrt(bins)))
    cuts = torch.searchsorted(sums, torch.arange(1, rows) / rows)
    edges = [0, *cuts.tolist(), len(y_axis)]
    found, wanted = [], []
    step = y_axis[1] - y_axis[0]
    i = ((x[:, 0] - y_axis[0]) / step).round().long()
    j = ((x[:, 1] - y_axis[0]) / step).round().long()
    for low, high in pairwise(edges):
        band = p[low:high].sum(0)
        inner = torch.searchsorted(band.cumsum(0), torch.arange(1, rows) / rows * band.sum())
        ends = [0, *inner.tolist(), len(y_axis)]
        here = (i >= low) & (i < high)
        for bottom, top in pairwise(ends):
            found.append(float((here & (j >= bottom) & (j < top)).double().mean()))
            wanted.append(float(band[bottom:top].sum()))
    return 0.5 * float(np.abs(np.subtract(found, wanted)).sum())


def two_samples(x, y, seed=0):
    """Returns the accuracy of a nearest-neighbour classifier that tells two sets apart, cross-validated."""

    from sklearn.model_selection import cross_val_score
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.preprocessing import StandardScaler

    data = StandardScaler().fit_transform(torch.cat([x, y]).numpy())
    labels = np.r_[np.zeros(len(x)), np.ones(len(y))]
    order = np.random.default_rng(seed).permutation(len(labels))
    return float(cross_val_score(KNeighborsClassifier(51), data[order], labels[order], cv=5).mean())


def points(n: int, only: str | None) -> None:
    print("model               sigma   TV    (of the grid's own draws)  C2ST   R-hat  ESS     acceptance  seconds")
    for name, (text, sigmas) in POINTS.items():
        if only not in (None, name):
            continue
        model = dgmcore.load(name)
        for sigma in sigmas:
            asked = dgmcore.given(model, text, sigma=[sigma])
            began = time.perf_counter()
            x = dgmcore.sample(asked, n, seed=0)
            took = time.perf_counter() - began
            axis, p = posterior_on_grid(model, asked.observations[0])
            mine, best = (total_variation(s, axis, p, 64) for s in (x, drawn_from_grid(axis, p, n, 1)))
            told = two_samples(x, drawn_from_grid(axis, p, n, 2))
            r = asked.report()
            print(
                f"{name:20}{sigma:<6g}{mine:6.3f} {best:15.3f} {told:19.3f} {r['r_hat']:8.3f} {r['ess']:8.0f} "
                f"{r['acceptance']:8.2f} {took:10.1f}",
                flush=True,
            )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["points", "pictures", "labels", "cost"])
    parser.add_argument("-n", type=int, default=None)
    parser.add_argument("--only")
    a = parser.parse_args()
    globals()[a.what](a.n or 10_000, a.only)
