r"""Precision and recall of distributions, as the two numbers that stand for their curve.

References:
    Assessing Generative Models via Precision and Recall (Sajjadi et al., 2018), theorem 1 and section 4.2
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric

from ..intervals import grouped, within_bounds
from .view import measured, seen

__all__ = ["clusters", "curve", "f_scores", "prd_precision", "prd_recall", "precision_recall_of_distributions"]


def curve(p: Tensor, q: Tensor, angles: int = 1001) -> tuple[Tensor, Tensor]:
    r"""Returns precision and recall of `q` with regard to `p`, both probabilities `(k,)`, at so many slopes.

    .. math:: \alpha(\lambda) = \sum_\omega \min(\lambda p(\omega), q(\omega)), \qquad
              \beta(\lambda) = \alpha(\lambda) / \lambda
    """

    slopes = torch.linspace(1e-10, math.pi / 2 - 1e-10, angles, dtype=torch.float64).tan()
    precision = torch.minimum(slopes[:, None] * p, q).sum(1)
    return precision.clamp(max=1), (precision / slopes).clamp(max=1)


def f_scores(precision: Tensor, recall: Tensor, beta: float = 8) -> tuple[float, float]:
    r"""Returns the largest :math:`F_{1/\beta}` (it weighs precision) and the largest :math:`F_\beta` (recall)."""

    def largest(b: float) -> float:
        return float(((1 + b**2) * precision * recall / (b**2 * precision + recall).clamp(min=1e-10)).max())

    return largest(1 / beta), largest(beta)


def clusters(points: Tensor, k: int, seed: int, steps: int = 30) -> Tensor:
    """Returns the cluster of each point `(n, d)`, by Lloyd's algorithm from centres that k-means++ draws."""

    generator = torch.Generator().manual_seed(seed)
    centres = points[torch.randint(len(points), (1,), generator=generator)]
    for _ in range(k - 1):
        far = torch.cdist(points, centres).amin(1).square()
        weights = far if far.sum() > 0 else torch.ones_like(far)
        centres = torch.cat([centres, points[torch.multinomial(weights, 1, generator=generator)]])
    nearest = torch.cdist(points, centres).argmin(1)
    for _ in range(steps):
        counts = torch.bincount(nearest, minlength=k).clamp(min=1)
        sums = torch.zeros_like(centres).index_add_(0, nearest, points)
        moved = torch.cdist(points, sums / counts[:, None]).argmin(1)
        if torch.equal(moved, nearest):
            break
        nearest = moved
    return nearest


def precision_recall_of_distributions(
    x: Tensor, y: Tensor, k: int = 20, runs: int = 10, seed: int = 0
) -> tuple[float, float]:
    """Precision and recall (F_1/8 and F_8) of samples `x` `(n, d)` with regard to real data `y` `(m, d)`.

    Both sets are clustered together; the curve is that of the histograms over the clusters, the mean of some runs.

    Raises:
        UsageError: If there are fewer points than clusters.
    """

    return _from_histograms(*_labels(x, y, k, runs, seed).chunk(2), k)


def _labels(x: Tensor, y: Tensor, k: int, runs: int, seed: int) -> Tensor:
    if len(x) + len(y) < 2 * k:
        raise UsageError(f"precision and recall of distributions need {2 * k} points", "raise --n")
    size = min(len(x), len(y))
    points = torch.cat([x[:size], y[:size]]).double()
    return torch.stack([clusters(points, k, seed + run) for run in range(runs)], 1)


def _from_histograms(x: Tensor, y: Tensor, k: int) -> tuple[float, float]:
    curves = [
        curve(torch.bincount(b, minlength=k).double() / len(b), torch.bincount(a, minlength=k).double() / len(a))
        for a, b in zip(x.T, y.T, strict=True)
    ]
    return f_scores(torch.stack([c[0] for c in curves]).mean(0), torch.stack([c[1] for c in curves]).mean(0))


# --- metrics ----------------------------------------------------------------------------------------


@metric(can=["generator"], views={seen: None}, applies=lambda run: False)
def prd_precision(run: Run) -> Metric:
    """F_1/8 of precision and recall of distributions; higher is better."""

    return _one(run, "prd-precision", 0)


@metric(can=["generator"], views={seen: None}, applies=lambda run: False)
def prd_recall(run: Run) -> Metric:
    """F_8 of precision and recall of distributions; higher is better."""

    return _one(run, "prd-recall", 1)


def _with_errors(x: Tensor, y: Tensor, k: int) -> tuple[tuple[float, float], list[float]]:
    """Returns both figures of the clusters of samples and of data, `(n, runs)`, and their standard errors.

    Those of the histograms, the clusters held, and that of the mean over clusterings, which differ, add up.
    """

    held = grouped(lambda a, b: _from_histograms(a, b, k), x, y, most=None)
    each = torch.tensor(
        [_from_histograms(a[:, None], b[:, None], k) for a, b in zip(x.T, y.T, strict=True)], dtype=torch.float64
    )
    between = (each.var(0) / len(each)).tolist()
    return _from_histograms(x, y, k), [math.sqrt(e**2 + v) for e, v in zip(held, between, strict=True)]


def _one(run: Run, name: str, which: int) -> Metric:
    """Both come from one set of clusterings; their errors are those of :func:`_with_errors`."""

    k = 20

    def both() -> tuple[tuple[float, float], list[float]]:
        labels = _labels(run.samples(seen), run.real(seen), k, 10, run.seed)
        return _with_errors(*labels.chunk(2), k)

    values, errors = run.once("precision and recall of distributions", both)
    n = min(len(run.samples(seen)), len(run.real(seen)))
    interval = within_bounds(values[which], errors[which], 20, n)
    return measured(run, name, values[which], interval, unit="F1/8, 20 clusters" if which == 0 else "F8, 20 clusters")
