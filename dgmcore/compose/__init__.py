"""Models of models: a generator tilted by a critic, and the Markov chains that sample it."""

from __future__ import annotations

from ..version import forwarded
from .gradients import frozen, gradients, leaf, step_frozen
from .langevin import langevin, langevin_step
from .nested import Nested, flatten, half_square, tree_map, unflatten
from .tilted import Tilted, tilt

__all__ = [
    "Nested",
    "Tilted",
    "flatten",
    "frozen",
    "gradients",
    "half_square",
    "langevin",
    "langevin_step",
    "leaf",
    "step_frozen",
    "tilt",
    "tree_map",
    "unflatten",
]

__getattr__ = forwarded(__name__, "metropolis")
