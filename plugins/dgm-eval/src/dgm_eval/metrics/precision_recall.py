r"""Improved precision and recall: samples in the data's manifold, and data in the samples'.

References:
    Improved Precision and Recall Metric for Assessing Generative Models (Kynkäänniemi et al., 2019)
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric

from ..intervals import around, grouped
from .comparison import BLOCK, features, has_features, protocol

__all__ = ["precision", "precision_recall", "recall"]


def precision_recall(x: Tensor, y: Tensor, k: int = 3) -> tuple[float, float]:
    r"""Improved precision and recall of samples `x` against real data `y`, `(n, d)` and `(m, d)`.

    A set's manifold is the union of balls around its points that reach to their `k`-th neighbour.
    Precision is the share of samples inside the manifold of the real data, recall the share of real
    data inside the manifold of the samples.

    Raises:
        UsageError: If there are not more than `k` of each.
    """

    if min(len(x), len(y)) <= k:
        raise UsageError(f"precision and recall need more than {k} points", "raise --n")
    x, y = x.double(), y.double()
    return _share_inside(x, y, _radii(y, k)), _share_inside(y, x, _radii(x, k))


def _radii(x: Tensor, k: int) -> Tensor:
    """Distance of each point to its `k`-th neighbour among the others, `(n,)`."""
    # the point itself is its own nearest: the (k + 1)-th smallest
    return torch.cat([torch.cdist(block, x).kthvalue(k + 1, dim=1).values for block in torch.split(x, BLOCK)])


def _share_inside(points: Tensor, centres: Tensor, radii: Tensor) -> float:
    inside = torch.cat([(torch.cdist(block, centres) <= radii).any(1) for block in torch.split(points, BLOCK)])
    return float(inside.double().mean())


@metric(can=["generator"], views={features: None}, applies=has_features)
def precision(run: Run) -> Metric:
    """The share of samples within the real data's manifold; higher is better."""

    return _record(run, "precision", 0)


@metric(can=["generator"], views={features: None}, applies=has_features)
def recall(run: Run) -> Metric:
    """The share of real data within the samples' manifold; higher is better."""

    return _record(run, "recall", 1)


def _record(run: Run, name: str, which: int) -> Metric:
    """Both come from one computation, and so do their floors."""

    def both() -> tuple[tuple[float, float], tuple[float, float] | tuple[None, None], list[float]]:
        x, y, other = run.samples(features), run.real(features), run.other(features)
        floors = (None, None) if other is None else precision_recall(other[: len(x)], y)
        return precision_recall(x, y), floors, grouped(precision_recall, x, y, seed=run.seed)

    values, floors, errors = run.once("precision and recall", both)
    interval = around(values[which], errors[which], 20)
    about = {"floor": floors[which], "interval": interval, "unit": "share, k = 3"}
    return run.record(name, values[which], **about, **protocol(run, features), **run.extractor.fields())
