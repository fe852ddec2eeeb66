"""Plugins: what is installed, and what it provides."""

from __future__ import annotations

from .imports import import_string
from .provided import (
    architecture,
    architectures,
    call,
    commands,
    converters,
    datasets,
    features,
    metrics,
    plugins,
)

__all__ = [
    "architecture",
    "architectures",
    "call",
    "commands",
    "converters",
    "datasets",
    "features",
    "import_string",
    "metrics",
    "plugins",
]
