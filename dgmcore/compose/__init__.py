"""Models of models: a generator tilted by a critic, and the Markov chains that sample it."""

from __future__ import annotations

from .chains import Nested, flatten, langevin, langevin_step, metropolis, tree_map, unflatten
from .tilted import Tilted, frozen, tilt

__all__ = [
    "Nested",
    "Tilted",
    "flatten",
    "frozen",
    "langevin",
    "langevin_step",
    "metropolis",
    "tilt",
    "tree_map",
    "unflatten",
]
