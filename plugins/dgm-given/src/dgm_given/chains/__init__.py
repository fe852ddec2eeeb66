"""Chains in the noise of a model: kernels, what they learn in a warm-up, and how well they mixed."""

from __future__ import annotations

from .adapt import Scale, StepSize
from .diagnostics import effective_size, r_hat
from .kernels import hmc, independence, langevin, mala, pcn, walk
from .local import LocalMixture
from .population import Population, populate
from .state import State, Target, energy

__all__ = [
    "LocalMixture",
    "Population",
    "Scale",
    "State",
    "StepSize",
    "Target",
    "effective_size",
    "energy",
    "hmc",
    "independence",
    "langevin",
    "mala",
    "pcn",
    "populate",
    "r_hat",
    "walk",
]
