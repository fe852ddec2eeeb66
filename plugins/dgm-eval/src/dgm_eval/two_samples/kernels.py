r"""Distances of two sets: the maximum mean discrepancy, and the sliced Wasserstein distance.

References:
    A Kernel Two-Sample Test (Gretton et al., 2012), lemma 6, and section 8 for the bandwidth
    Sliced and Radon Wasserstein Barycenters of Measures (Bonneel et al., 2015)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, metric

from ..intervals import grouped, kernel_statistic, of_squared
from .view import measured, seen

__all__ = ["directions", "median_distance", "mmd", "mmd_metric", "sliced_wasserstein", "sliced_wasserstein_metric"]


def median_distance(y: Tensor, most: int = 2000) -> float:
    """Returns the median distance of pairs of the first `most` points `(m, d)`."""

    found = float(torch.pdist(y[:most].double()).median())
    return found or 1.0


def mmd(x: Tensor, y: Tensor, bandwidth: float | None = None) -> tuple[float, float]:
    r"""The unbiased squared MMD of `(n, d)` and `(m, d)` with :math:`k(a, b) = \exp(-|a - b|^2 / 2 \sigma^2)`.

    Arguments:
        x: The samples.
        y: The real data.
        bandwidth: :math:`\sigma`; None takes the median distance of the real data.

    Returns:
        The value, and its standard error.
    """

    x, y = x.double(), y.double()
    scale = 2 * (median_distance(y) if bandwidth is None else bandwidth) ** 2
    return kernel_statistic(lambda a, b: torch.cdist(a, b).square_().div_(-scale).exp_(), x, y)


def directions(d: int, n: int, seed: int = 0) -> Tensor:
    """Returns `n` directions, uniform on the sphere, `(d, n)`, float64."""

    found = torch.randn(d, n, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return found / found.norm(dim=0)


def sliced_wasserstein(px: Tensor, py: Tensor) -> float:
    r"""Sliced 2-Wasserstein distance of two sets, given by their projections `(n, L)` and `(m, L)` on L directions.

    .. math:: \Big( \frac1L \sum_l \int_0^1 |F_l^{-1}(u) - G_l^{-1}(u)|^2 \, du \Big)^{1/2}

    The integrals are exact, whatever n and m: quantile functions are constant between multiples of 1/n and 1/m.
    """

    n, m = len(px), len(py)
    steps = torch.cat([torch.arange(1, n + 1) * m, torch.arange(1, m + 1) * n]).unique()  # in units of 1 / (n m)
    widths = steps.diff(prepend=steps.new_zeros(1)).double() / (n * m)
    gap = px.sort(0).values[(steps - 1) // m] - py.sort(0).values[(steps - 1) // n]
    return float((widths @ gap.square()).mean().sqrt())


# --- metrics ----------------------------------------------------------------------------------------


@metric(can=["generator"], views={seen: 4000}, applies=lambda run: False)
def mmd_metric(run: Run) -> Metric:
    """Squared MMD, unbiased, a Gaussian kernel as wide as the real data's median distance; lower is better."""

    x, y, other = run.samples(seen), run.real(seen), run.other(seen)
    width = median_distance(y)
    value, error = mmd(x, y, width)
    floor = None if other is None else mmd(other[: len(x)], y, width)[0]
    return measured(run, "mmd", value, of_squared(value, error), floor=floor, unit=f"squared, bandwidth {width:.4g}")


@metric(can=["generator"], views={seen: 4000}, applies=lambda run: False)
def sliced_wasserstein_metric(run: Run) -> Metric:
    """Sliced 2-Wasserstein distance over 128 directions; lower is better."""

    x, y, other = run.samples(seen), run.real(seen), run.other(seen)
    along = directions(x.shape[1], 128, run.seed)
    px, py = x.double() @ along, y.double() @ along
    value = sliced_wasserstein(px, py)
    (error,) = grouped(sliced_wasserstein, px, py, seed=run.seed)
    squared = of_squared(value**2, 2 * value * error, 20)
    interval = math.sqrt(max(0.0, squared[0])), math.sqrt(squared[1])
    floor = None if other is None else sliced_wasserstein(other[: len(x)].double() @ along, py)
    return measured(run, "sliced-wasserstein", value, interval, floor=floor, unit="128 directions")
