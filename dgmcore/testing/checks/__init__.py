"""The checks, in the order in which they run. A check raises AssertionError, or :class:`Skip`."""

from __future__ import annotations

from . import building, drawing, keeping, learning, measuring
from .base import Check, Skip

CHECKS: list[Check] = [check for group in (building, drawing, measuring, keeping, learning) for check in group.CHECKS]

__all__ = ["CHECKS", "Check", "Skip"]
