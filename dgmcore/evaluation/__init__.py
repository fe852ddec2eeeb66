"""What authors of metrics program against: metrics, and records that carry their protocol.

A metric is a function `run -> Metric | list[Metric]` marked with :func:`metric`; plugins add theirs by
the hook `dgm_metrics`. What runs them is the plugin dgm-eval.
"""

from __future__ import annotations

from ..entry import Metric
from ..version import forwarded
from .metric import Run, flat, metric, unit

__all__ = ["Metric", "Run", "flat", "metric", "unit"]

__getattr__ = forwarded(__name__, "compare", "differences")
