"""The checks, in the order in which they run. A check raises AssertionError, or :class:`Skip`."""

from __future__ import annotations

from . import bounding, building, counting, drawing, keeping, learning, measuring
from .base import Check, Skip

_GROUPS = (building, drawing, measuring, counting, keeping, bounding, learning)

CHECKS: list[Check] = [check for group in _GROUPS for check in group.CHECKS]

__all__ = ["CHECKS", "Check", "Skip"]
