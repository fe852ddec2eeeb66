"""Judging models: metrics, and records that carry their protocol.

A metric is a function `run -> Metric | list[Metric]` marked with :func:`metric`; plugins add theirs by
the hook `dgm_metrics`.
"""

from __future__ import annotations

from ..entry import Metric
from .api import evaluate
from .extractor import unit
from .records import compare, differences
from .run import Run, flat, metric

__all__ = ["Metric", "Run", "compare", "differences", "evaluate", "flat", "metric", "unit"]
