"""Distances between sets of points, as functions of the points alone: those of all metrics, in one place."""

from __future__ import annotations

from .metrics.energy_distance import energy_distance
from .metrics.fid import frechet
from .metrics.inception_score import score_of_logits as inception_score
from .metrics.kernel_distance import kernel_distance
from .metrics.ood_auroc import auroc
from .metrics.precision_recall import precision_recall
from .two_samples.curve import precision_recall_of_distributions
from .two_samples.extrapolated import extrapolated
from .two_samples.kernels import mmd, sliced_wasserstein
from .two_samples.neighbours import density_coverage, nearer_to_first, neighbour_test

__all__ = [
    "auroc",
    "density_coverage",
    "energy_distance",
    "extrapolated",
    "frechet",
    "inception_score",
    "kernel_distance",
    "mmd",
    "nearer_to_first",
    "neighbour_test",
    "precision_recall",
    "precision_recall_of_distributions",
    "sliced_wasserstein",
]
