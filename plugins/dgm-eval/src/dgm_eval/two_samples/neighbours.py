r"""Metrics of nearest neighbours: density and coverage, a classifier two-sample test, memorisation.

References:
    Reliable Fidelity and Diversity Metrics for Generative Models (Naeem et al., 2020), eqs. 3 and 4
    Revisiting Classifier Two-Sample Tests (Lopez-Paz & Oquab, 2017), section 3
    A Non-Parametric Test to Detect Data-Copying in Generative Models (Meehan et al., 2020), section 2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric

from ..intervals import around, grouped
from .view import measured, seen

__all__ = ["c2st", "coverage", "density", "density_coverage", "memorisation", "nearer_to_first", "neighbour_test"]

BLOCK = 2048


def density_coverage(x: Tensor, y: Tensor, k: int = 5) -> tuple[float, float]:
    r"""Density and coverage of samples `x` `(n, d)` with regard to real data `y` `(m, d)`.

    .. math::
        \frac{1}{k n} \sum_j \sum_i 1\{x_j \in B(y_i, r_k(y_i))\}, \qquad
        \frac1m \sum_i 1\{\exists j: x_j \in B(y_i, r_k(y_i))\}

    with :math:`r_k(y_i)` the distance of a real datum to its k-th neighbour among the other real data. Density may be
    larger than 1; of two sets of one distribution it is 1, and coverage nearly so.

    Raises:
        UsageError: If there are not more than `k` real data.
    """

    if len(y) <= k:
        raise UsageError(f"density and coverage need more than {k} real data", "raise --n")
    x, y = x.double(), y.double()
    balls = covered = 0
    for part in torch.split(y, BLOCK):
        radii = torch.cdist(part, y).kthvalue(k + 1, dim=1).values  # the point itself is its own nearest
        inside = torch.cdist(part, x) < radii[:, None]
        balls += int(inside.sum())
        covered += int(inside.any(1).sum())
    return balls / (k * len(x)), covered / len(y)


def neighbour_test(x: Tensor, y: Tensor, seed: int = 0) -> tuple[float, int]:
    r"""Accuracy of a classifier that tells samples `x` `(n, d)` from real data `y` `(m, d)`; 1/2 if nothing can.

    Half of each is for training and half for the test. The classifier goes by the majority of the
    :math:`k = \lfloor \sqrt{n_\text{train}} \rfloor` nearest training points, k made odd.

    Returns:
        The accuracy, the mean of those on both sets; and the number of points that were tested.
    """

    if min(len(x), len(y)) < 4:
        raise UsageError("a classifier needs at least 4 samples and 4 real data", "raise --n")
    size = min(len(x), len(y))
    generator = torch.Generator().manual_seed(seed)
    x, y = (p.double()[torch.randperm(len(p), generator=generator)[:size]] for p in (x, y))
    half = size // 2
    points, labels = torch.cat([x[:half], y[:half]]), torch.arange(2).repeat_interleave(half)
    k = math.isqrt(len(points))
    k -= 1 - k % 2
    right = 0
    for label, tested in ((0, x[half:]), (1, y[half:])):
        for part in torch.split(tested, BLOCK):
            nearest = torch.cdist(part, points).topk(k, largest=False).indices
            right += int((labels[nearest].sum(1) * 2 > k).eq(bool(label)).sum())
    n = 2 * (size - half)
    return right / n, n


def nearer_to_first(x: Tensor, first: Tensor, second: Tensor) -> Tensor:
    """Tells of each sample `(n, d)` whether its nearest neighbour is in `first` (1), in `second` (0), or in both (1/2).

    The larger of the two sets is thinned to the size of the smaller, so that without copying both are equally likely.
    """

    size = min(len(first), len(second))
    near = [_nearest(x.double(), points[:size].double()) for points in (first, second)]
    return (near[0] < near[1]).double() + 0.5 * (near[0] == near[1]).double()


def _nearest(x: Tensor, points: Tensor) -> Tensor:
    return torch.cat([torch.cdist(part, points).amin(1) for part in torch.split(x, BLOCK)])


# --- metrics ----------------------------------------------------------------------------------------


@metric(can=["generator"], views={seen: None}, applies=lambda run: False)
def density(run: Run) -> Metric:
    """How many balls around real data a sample is in, in units of what is expected; higher is better."""

    return _of_balls(run, "density", 0)


@metric(can=["generator"], views={seen: None}, applies=lambda run: False)
def coverage(run: Run) -> Metric:
    """The share of real data with a sample in their ball; higher is better."""

    return _of_balls(run, "coverage", 1)


def _of_balls(run: Run, name: str, which: int) -> Metric:
    def both() -> tuple[tuple[float, float], list[float]]:
        x, y = run.samples(seen), run.real(seen)
        return density_coverage(x, y), grouped(density_coverage, x, y, seed=run.seed)

    values, errors = run.once("density and coverage", both)
    other = run.other(seen)
    floor = None if other is None else density_coverage(other[: len(run.samples(seen))], run.real(seen))[which]
    interval = around(values[which], errors[which], 20)
    return measured(run, name, values[which], interval, floor=floor, unit="k = 5")


@metric(can=["generator"], views={seen: None}, applies=lambda run: False)
def c2st(run: Run) -> Metric:
    """Accuracy of a nearest-neighbour classifier that tells samples from real data: 0.5 is best, 1 worst."""

    x, y = run.samples(seen), run.real(seen)
    value, n = neighbour_test(x, y, run.seed)
    interval = around(value, math.sqrt(0.25 / n))
    return measured(run, "c2st", value, interval, unit=f"accuracy on {n:,}, 0.5 is best")


@metric(can=["generator"], views={seen: None}, applies=lambda run: False)
def memorisation(run: Run) -> Metric:
    """How often a sample is nearer to the training data than to as many held-out ones; 0.5 without copying."""

    train = run.other(seen)
    if train is None:
        raise UsageError(f"{run.against} has no other split to be copied from", "name data that have one: fashion:test")
    x, test = run.samples(seen), run.real(seen)
    size = min(len(train), len(test))

    def share(some: Tensor, both: Tensor) -> float:
        first, second = (both[both[:, -1] == part][:, :-1] for part in (0, 1))
        return float(nearer_to_first(some, first, second).mean())

    marked = torch.cat([torch.cat([p[:size], torch.full((size, 1), float(i))], 1) for i, p in enumerate((train, test))])
    value = float(nearer_to_first(x, train, test).mean())
    (error,) = grouped(share, x, marked.to(x.dtype), seed=run.seed)
    unit = f"share nearer to {run.other_name}, of {size:,} each; 0.5 without copying"
    return measured(run, "memorisation", value, around(value, error, 20), unit=unit)
