"""What authors of metrics program against: metrics, and records that carry their protocol.

A metric is a function `run -> Metric | list[Metric]` marked with :func:`metric`; plugins add theirs by
the hook `dgm_metrics`. What runs them is the plugin dgm-eval.
"""

from __future__ import annotations

from typing import Any

from ..entry import Metric
from ..plugins import call
from .metric import Run, flat, metric, unit

__all__ = ["Metric", "Run", "flat", "metric", "unit"]


def __getattr__(name: str) -> Any:
    if name not in ("compare", "differences"):  # of records: the work of dgm-eval
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return call(name)
