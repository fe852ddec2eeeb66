"""What the metrics of two sets look at: features where there is a network for the data, else the data themselves."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, flat

from ..intervals import Interval
from ..metrics.comparison import features

__all__ = ["about", "measured", "seen"]


def seen(run: Run, x: Tensor) -> Tensor:
    """A view: the network's features, or the data themselves, flattened; `(n, d)`."""

    return flat(run, x) if run.features_name is None else features(run, x)


def about(run: Run) -> dict[str, Any]:
    """Returns what a record says of the points that were compared."""

    n, n_real = len(run.samples(seen)), len(run.real(seen))
    by = {} if run.features_name is None else run.extractor.fields()
    return {"n": n, "n_real": n_real, "against": run.against, "sampling": run.sampling, **by}


def measured(run: Run, name: str, value: float, interval: Interval, **fields: Any) -> Metric:
    """Returns the record of a figure with its interval."""

    return run.record(name, value, interval=interval, **{**about(run), **fields})
