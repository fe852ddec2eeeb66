r"""Energy distance of the data themselves.

References:
    An Introduction to Deep Generative Modeling (Ruthotto & Haber, 2021), section 5.1 and Fig. 11
"""

from __future__ import annotations

from functools import partial

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, flat, metric

from ..intervals import kernel_statistic, of_squared
from .comparison import BLOCK, compared

__all__ = ["energy_distance", "energy_metric"]


def energy_distance(x: Tensor, y: Tensor, eps: float = 0.1) -> float:
    r"""Energy distance, as Ruthotto & Haber print it, of `x` `(n, d)` and `y` `(m, d)`.

    .. math::
        \frac{nm}{(n + m)^2} \Big( \frac{2}{nm} \sum_{ij} d(x_i, y_j)
        - \frac{1}{n^2} \sum_{ij} d(x_i, x_j) - \frac{1}{m^2} \sum_{ij} d(y_i, y_j) \Big),
        \quad d(a, b) = \sqrt{|a - b|^2 + \epsilon}

    The diagonals are in the sums: a V-statistic, whose value depends on `n` and `m`.
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
    for block in torch.split(x, BLOCK):
        d2 = block.square().sum(1, keepdim=True) + squares - 2 * block @ y.T
        total += float(d2.clamp_(min=0).add_(eps).sqrt_().sum())
    return total


@metric(can=["generator"], views={flat: 4000})
def energy_metric(run: Run) -> Metric:
    """Energy distance of the data themselves, images in [0, 1]; lower is better; depends on the number of points."""

    x, y = (points.double() for points in (run.samples(flat), run.real(flat)))
    _, error = kernel_statistic(lambda a, b: -(torch.cdist(a, b).square_() + 0.1).sqrt_(), x, y)
    error *= len(x) * len(y) / (len(x) + len(y)) ** 2
    interval = partial(of_squared, error=error)
    return compared(run, "energy-distance", flat, energy_distance, interval, unit="eps 0.1 in the root")
