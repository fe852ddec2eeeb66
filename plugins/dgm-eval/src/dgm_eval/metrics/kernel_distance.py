r"""Kernel distance of features (KID).

References:
    Demystifying MMD GANs (Bińkowski et al., 2018)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, metric

from ..intervals import kernel_statistic, of_squared
from .comparison import features, has_features, protocol

__all__ = ["kernel_distance", "kid"]


def kernel_distance(
    x: Tensor, y: Tensor, *, subsets: int = 50, subset_size: int = 1000, seed: int = 0
) -> tuple[float, float]:
    r"""Kernel distance of `(n, d)` and `(m, d)`: the unbiased squared MMD with :math:`k(a, b) = (a \cdot b / d + 1)^3`.

    .. math::
        \frac{1}{s (s - 1)} \sum_{i \ne j} \big( k(x_i, x_j) + k(y_i, y_j) \big) - \frac{2}{s^2} \sum_{ij} k(x_i, y_j)

    Arguments:
        x: A set.
        y: Another.
        subsets: How many pairs of random subsets are compared.
        subset_size: The most points of a subset, s.
        seed: Of the subsets.

    Returns:
        Mean and standard deviation over the pairs.
    """

    x, y = x.double(), y.double()
    size = min(subset_size, len(x), len(y))
    generator = torch.Generator().manual_seed(seed)

    def some(points: Tensor) -> Tensor:
        return points[torch.randperm(len(points), generator=generator)[:size]]

    values = []
    for _ in range(subsets):
        b = some(y)
        values.append(_squared_mmd(some(x), b))
    found = torch.stack(values)
    return float(found.mean()), float(found.std(correction=0))


def _squared_mmd(x: Tensor, y: Tensor) -> Tensor:
    """The unbiased squared MMD of two sets `(s, d)`."""

    size = len(x)
    within = sum(k.sum() - k.trace() for k in (_cubic(x, x), _cubic(y, y)))
    return within / (size * (size - 1)) - 2 * _cubic(x, y).mean()


def _cubic(a: Tensor, b: Tensor) -> Tensor:
    return (a @ b.T / a.shape[1] + 1) ** 3


@metric(can=["generator"], views={features: None}, applies=has_features)
def kid(run: Run) -> Metric:
    """Kernel distance of the features, unbiased in the number of samples; lower is better."""

    x, y, other = run.samples(features), run.real(features), run.other(features)
    value, std = kernel_distance(x, y, seed=run.seed)
    floor = None if other is None else kernel_distance(other[: len(x)], y, seed=run.seed)[0]
    error = math.hypot(kernel_statistic(_cubic, x.double(), y.double())[1], std / math.sqrt(50))  # and of the subsets
    about = {"std": std, "interval": of_squared(value, error), "floor": floor}
    return run.record("kid", value, **about, **protocol(run, features), **run.extractor.fields())
