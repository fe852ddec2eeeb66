r"""Distances between two sets of points, as functions of the points alone.

Everything is computed in float64 and in blocks, so that memory is bounded by the sets themselves.
"""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dgmcore.errors import UsageError

__all__ = ["auroc", "energy_distance", "frechet", "inception_score", "kernel_distance", "precision_recall"]

BLOCK = 2048


def frechet(x: Tensor, y: Tensor) -> float:
    r"""Fréchet distance between Gaussians fitted to two sets, `(n, d)` and `(m, d)`.

    .. math:: |\mu_x - \mu_y|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2})

    References:
        GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017)
    """

    fid = _torchmetrics("fid").FrechetInceptionDistance(feature=_Given(x.shape[1]), sync_on_compute=False)
    for points, real in ((y, True), (x, False)):
        fid.update(points.double(), real=real)
    return float(fid.compute())


def kernel_distance(
    x: Tensor, y: Tensor, *, subsets: int = 50, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    r"""Kernel distance (KID): the unbiased squared MMD with the kernel :math:`(x \cdot y / d + 1)^3`.

    Returns:
        Mean and standard deviation over random subsets, which are a function of `seed`.

    References:
        Demystifying MMD GANs (Bińkowski et al., 2018)
    """

    size = min(subset_size, len(x), len(y))
    with warnings.catch_warnings(), _seeded(seed):
        warnings.simplefilter("ignore")  # that it keeps all features: so it must
        kid = _torchmetrics("kid").KernelInceptionDistance(
            feature=_Given(x.shape[1]), subsets=subsets, subset_size=size, sync_on_compute=False
        )
        for points, real in ((y, True), (x, False)):
            kid.update(points.double(), real=real)
        mean, std = kid.compute()
    return float(mean), float(std)


def inception_score(logits: Tensor, *, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    r"""Inception score :math:`\exp E_x KL(p(y|x) \| p(y))` of a classifier's logits `(n, classes)`.

    Returns:
        Mean and standard deviation over `splits` parts of the set, in a random order that `seed` gives.

    References:
        Improved Techniques for Training GANs (Salimans et al., 2016)
    """

    splits = max(1, min(splits, len(logits) // 100))
    with warnings.catch_warnings(), _seeded(seed):
        warnings.simplefilter("ignore")
        score = _torchmetrics("inception").InceptionScore(
            feature=_Given(logits.shape[1]), splits=splits, sync_on_compute=False
        )
        score.update(logits.double())
        mean, std = score.compute()
    return float(mean), float(std) if splits > 1 else 0.0


def precision_recall(x: Tensor, y: Tensor, k: int = 3) -> tuple[float, float]:
    r"""Improved precision and recall of samples `x` against real data `y`, `(n, d)` and `(m, d)`.

    A set's manifold is the union of balls around its points that reach to their `k`-th neighbour.
    Precision is the share of samples inside the manifold of the real data, recall the share of real
    data inside the manifold of the samples.

    References:
        Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al., 2019)
    """

    if min(len(x), len(y)) <= k:
        raise UsageError(f"precision and recall need more than {k} points", "raise --n")
    x, y = x.double(), y.double()
    return _share_inside(x, y, _radii(y, k)), _share_inside(y, x, _radii(x, k))


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each point to its `k`-th neighbour among the others, `(n,)`."""
    # the point itself is its own nearest: the (k + 1)-th smallest
    return torch.cat([torch.cdist(block, x).kthvalue(k + 1, dim=1).values for block in x.split(BLOCK)])


def _share_inside(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    inside = sum(int((torch.cdist(block, centres) <= radii).any(1).sum()) for block in points.split(BLOCK))
    return inside / len(points)


def energy_distance(x: Tensor, y: Tensor, eps: float = 0.1) -> float:
    r"""Energy distance, as Ruthotto & Haber print it, of `x` `(n, d)` and `y` `(m, d)`.

    .. math::
        \frac{nm}{(n + m)^2} \Big( \frac{2}{nm} \sum_{ij} d(x_i, y_j)
        - \frac{1}{n^2} \sum_{ij} d(x_i, x_j) - \frac{1}{m^2} \sum_{ij} d(y_i, y_j) \Big),
        \quad d(a, b) = \sqrt{|a - b|^2 + \epsilon}

    The diagonals are in the sums: a V-statistic, whose value depends on `n` and `m`.

    References:
        An Introduction to Deep Generative Modeling (Ruthotto & Haber, 2021), section 5.1 and Fig. 11
    """

    n, m = len(x), len(y)
    x, y = x.double(), y.double()
    centre = y.mean(0)  # distances don't change, and less is lost in |x|^2 + |y|^2 - 2 x.y
    x, y = x - centre, y - centre
    between = 2 / (n * m) * _sum_of_distances(x, y, eps)
    within = _sum_of_distances(x, x, eps) / n**2 + _sum_of_distances(y, y, eps) / m**2
    return n * m / (n + m) ** 2 * (between - within)


def _sum_of_distances(x: Tensor, y: Tensor, eps: float) -> float:
    total = 0.0
    squares = y.square().sum(1)
    for block in x.split(BLOCK):
        d2 = block.square().sum(1, keepdim=True) + squares - 2 * block @ y.T
        total += float(d2.clamp_(min=0).add_(eps).sqrt_().sum())
    return total


def auroc(positive: Tensor, negative: Tensor) -> float:
    r"""Area under the ROC curve: the probability that a positive scores higher, ties counting a half."""

    values, counts = torch.unique(torch.cat([positive, negative]).double(), return_inverse=True, return_counts=True)[1:]
    rank = counts.cumsum(0).double() - (counts - 1) / 2  # mean rank of equal values, from 1
    n, m = len(positive), len(negative)
    return float((rank[values[:n]].sum() - n * (n + 1) / 2) / (n * m))


class _Given(torch.nn.Module):
    """Stands for the feature network where the features are computed already."""

    def __init__(self, num_features: int):
        super().__init__()
        self.num_features = num_features

    def forward(self, features: Tensor) -> Tensor:
        return features


def _torchmetrics(module: str) -> Any:
    from importlib import import_module

    try:
        return import_module(f"torchmetrics.image.{module}")
    except ImportError as e:
        raise UsageError(
            f"this metric needs {e.name or 'torchmetrics'}, which is not installed", "pip install 'dgmcore[eval]'"
        ) from None


@contextlib.contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Gives torchmetrics, which shuffles by the global generator, a state of its own."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
