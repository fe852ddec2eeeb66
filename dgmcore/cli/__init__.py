"""The command line: each command in a module of its own, imported when it runs."""

from __future__ import annotations

from .main import USUAL_GC, main

__all__ = ["USUAL_GC", "main"]
