"""What the metrics that compare samples with real data share: views, protocols, and the floor."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, View

from ..intervals import Interval

__all__ = ["compared", "features", "has_classes", "has_features", "logits", "protocol"]

#: Points that are looked at together.
BLOCK = 2048


def features(run: Run, x: Tensor) -> Tensor:
    """A view: the feature network's features, `(n, d)`."""
    return run.extractor.features(x)


def logits(run: Run, x: Tensor) -> Tensor:
    """A view: the classifier's logits, `(n, classes)`."""
    return run.extractor.logits(x)


def has_features(run: Run) -> bool:
    """Whether there is a network for the data set."""
    return run.features_name is not None


def has_classes(run: Run) -> bool:
    """Whether there is a classifier for the data set."""
    return has_features(run) and run.extractor.is_classifier


def protocol(run: Run, view: View) -> dict[str, Any]:
    """Returns what a record says of the points that were compared."""

    n, n_real = len(run.samples(view)), len(run.real(view))
    return {"n": n, "n_real": n_real, "against": run.against, "sampling": run.sampling}


def compared(
    run: Run,
    name: str,
    view: View,
    distance: Callable[[Tensor, Tensor], float],
    interval: Callable[[float], Interval],
    **fields: Any,
) -> Metric:
    """Returns the distance of samples to real data with its interval, whose floor is that of other real data."""

    x, y, other = run.samples(view), run.real(view), run.other(view)
    floor = None if other is None else distance(other[: len(x)], y)
    value = distance(x, y)
    return run.record(name, value, interval=interval(value), floor=floor, **protocol(run, view), **fields)
