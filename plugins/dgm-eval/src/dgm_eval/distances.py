"""Distances between sets of points, as functions of the points alone: those of all metrics, in one place."""

from __future__ import annotations

from .metrics.energy_distance import energy_distance
from .metrics.fid import frechet
from .metrics.inception_score import score_of_logits as inception_score
from .metrics.kernel_distance import kernel_distance
from .metrics.ood_auroc import auroc
from .metrics.precision_recall import precision_recall

__all__ = ["auroc", "energy_distance", "frechet", "inception_score", "kernel_distance", "precision_recall"]
