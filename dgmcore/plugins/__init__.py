"""Plugins: what is installed, and what it provides; `architectures()`, `datasets()`, ... for each kind of thing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from . import provided as _provided
from .imports import import_string, trust
from .provided import architecture, call, distribution_of, forwarded, name_of, plugins

__all__ = ["architecture", "call", "distribution_of", "forwarded", "import_string", "name_of", "plugins", "trust"]


def __getattr__(kind: str) -> Callable[[], dict[str, Any]]:
    found: Callable[[], dict[str, Any]] = getattr(_provided, kind)
    return found
