r"""Intervals that cover a figure's expected value, at its own numbers of points, 95 times of 100.

Figures that are means have their standard error. All others are jackknifed: computed again without some of the
points [1],

.. math:: \mathrm{se}^2 = \frac{g - 1}{g} \sum_{j=1}^g (\theta_{-j} - \bar\theta)^2

for g groups of each of the two sets, whose variances add up. The jackknife's variance is on average not too small [2],
and it is right where the bootstrap is not: points that are drawn twice would be each other's nearest neighbours.

References:
    [1] The Jackknife, the Bootstrap and Other Resampling Plans (Efron, 1982), chapter 3
    [2] The jackknife estimate of variance (Efron & Stein, 1981)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

__all__ = [
    "Interval",
    "around",
    "deviation",
    "grouped",
    "kernel_statistic",
    "of_share",
    "of_squared",
    "of_values",
    "one_sided",
    "within_bounds",
]

Interval = tuple[float, float]

#: Quantiles of Student's t that hold 95 %, by the groups that a deviation is estimated from.
_STUDENT = {5: 2.776, 20: 2.093}
_NORMAL = 1.96
_MOST = 2000  # points whose neighbours are found again for each group; the deviation of more follows by the root


def around(value: float, error: float, groups: int | None = None) -> Interval:
    """Returns the interval of a value with a standard error, estimated from so many groups (None: from many points)."""

    half = error * (_NORMAL if groups is None else _STUDENT[groups])
    return value - half, value + half


def of_squared(value: float, error: float, groups: int | None = None) -> Interval:
    r"""Returns the interval of a squared distance with a standard error, as :func:`around`, but further upwards.

    Where a squared distance is small by chance its error is, so that what is around it ends below the truth too often.
    Not so on the scale of the logarithm, whose upper end is :math:`v + h + h^2 / 2v + ...` for half a width h.
    """

    low, high = around(value, error, groups)
    half = high - value
    return low, high + (half**2 / (2 * max(value, half)) if half else 0.0)


def within_bounds(value: float, error: float, groups: int, n: int) -> Interval:
    """Returns the interval of a figure between 0 and 1 that is no share, on the scale of its logit.

    Near 0 and 1 the error is small wherever the figure is too near to them by chance; a logit's is not. A figure that
    is 0 or 1 is taken for half a point of n away from it.
    """

    p = min(max(value, 0.5 / n), 1 - 0.5 / n)
    low, high = around(math.log(p / (1 - p)), max(error, 0.5 / n) / (p * (1 - p)), groups)
    return min(value, 1 / (1 + math.exp(-low))), max(value, 1 / (1 + math.exp(-high)))


def of_values(values: Tensor) -> Interval:
    """Returns the interval of the mean of independent values `(n,)`."""

    return around(float(values.double().mean()), deviation(values))


def deviation(values: Tensor) -> float:
    """Returns the standard error of the mean of independent values `(n,)`; infinite for one."""

    return float(values.double().std()) / math.sqrt(len(values)) if len(values) > 1 else math.inf


def of_share(share: float, n: int) -> Interval:
    """Returns Wilson's interval of a share of n independent points, which is right near 0 and 1 too.

    Example:
        >>> [round(bound, 4) for bound in of_share(1.0, 100)]
        [0.963, 1.0]
    """

    z2 = _NORMAL**2 / n
    centre, half = (share + z2 / 2) / (1 + z2), math.sqrt(z2 * share * (1 - share) + z2**2 / 4) / (1 + z2)
    return max(0.0, centre - half), min(1.0, centre + half)


def one_sided(statistic: Callable[[Tensor], float], x: Tensor, groups: int = 20, seed: int = 0) -> float:
    """Returns the standard error of a statistic of independent points, by leaving out a group of them at a time."""

    order = torch.randperm(len(x), generator=torch.Generator().manual_seed(seed))
    groups = min(groups, len(x))
    found = []
    for j in range(groups):
        kept = torch.ones(len(x), dtype=torch.bool)
        kept[order[j::groups]] = False
        found.append(statistic(x[kept]))
    values = torch.tensor(found, dtype=torch.float64)
    return math.sqrt((groups - 1) / groups * float((values - values.mean()).square().sum()))


def grouped(
    statistic: Callable[[Tensor, Tensor], float | Sequence[float]],
    x: Tensor,
    y: Tensor,
    *,
    groups: int = 20,
    most: int | None = _MOST,
    seed: int = 0,
) -> list[float]:
    """Returns the standard errors of what a statistic of two sets returns.

    Arguments:
        statistic: Maps `(n, d)` and `(m, d)` to a number, or several.
        x: The samples.
        y: The real data.
        groups: The groups of each that are left out in turn.
        most: More points of each are thinned to so many, and the error is that of all of them, which falls with the
            root of their number; None takes all.
        seed: Of the groups.
    """

    scale = 1.0
    if most is not None and max(len(x), len(y)) > most:
        scale = math.sqrt(most / max(len(x), len(y)))
        share = most / max(len(x), len(y))
        x, y = (_some(points, max(2 * groups, round(share * len(points))), seed) for points in (x, y))
    total: Tensor | float = 0.0
    for fixed_first in (False, True):
        moving = y if fixed_first else x
        order = torch.randperm(len(moving), generator=torch.Generator().manual_seed(seed))
        values = []
        for j in range(groups):
            kept = torch.ones(len(moving), dtype=torch.bool)
            kept[order[j::groups]] = False
            found = statistic(x, moving[kept]) if fixed_first else statistic(moving[kept], y)
            values.append(torch.as_tensor(found, dtype=torch.float64).reshape(-1))
        stacked = torch.stack(values)
        total = total + (groups - 1) / groups * (stacked - stacked.mean(0)).square().sum(0)
    return [scale * math.sqrt(float(v)) for v in torch.as_tensor(total)]


def _some(points: Tensor, n: int, seed: int) -> Tensor:
    order = torch.randperm(len(points), generator=torch.Generator().manual_seed(seed + 1))
    return points[order[:n]]


def kernel_statistic(
    kernel: Callable[[Tensor, Tensor], Tensor], x: Tensor, y: Tensor, block: int = 2048
) -> tuple[float, float]:
    r"""Returns the unbiased squared MMD of two sets and its standard error, each point left out in turn.

    .. math::
        \frac{1}{n (n - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{m (m - 1)} \sum_{i \ne j} k(y_i, y_j)
        - \frac{2}{n m} \sum_{ij} k(x_i, y_j)

    All of it follows from the sums of the kernel matrices' rows, so it takes one pass.

    Arguments:
        kernel: Maps `(a, d)` and `(b, d)` to `(a, b)`.
        x: A set, `(n, d)`.
        y: Another, `(m, d)`.
        block: Rows that are looked at together.
    """

    n, m = len(x), len(y)
    xx, yy = (_rows(kernel, points, points, block) - _diagonal(kernel, points, block) for points in (x, y))
    xy, yx = _rows(kernel, x, y, block), _rows(kernel, y, x, block)
    within = float(xx.sum()) / (n * (n - 1)), float(yy.sum()) / (m * (m - 1))
    value = sum(within) - 2 * float(xy.sum()) / (n * m)
    error2 = 0.0
    for own, across, size, other in ((xx, xy, n, m), (yy, yx, m, n)):
        rest = (own.sum() - 2 * own) / ((size - 1) * (size - 2))
        without = rest - 2 * (across.sum() - across) / ((size - 1) * other)
        error2 += (size - 1) / size * float((without - without.mean()).square().sum())
    return value, math.sqrt(error2)


def _rows(kernel: Callable[[Tensor, Tensor], Tensor], a: Tensor, b: Tensor, block: int) -> Tensor:
    return torch.cat([kernel(part, b).sum(1) for part in torch.split(a, block)])


def _diagonal(kernel: Callable[[Tensor, Tensor], Tensor], a: Tensor, block: int) -> Tensor:
    return torch.cat([kernel(part, part).diagonal() for part in torch.split(a, min(block, 256))])
