"""The HTTP API, a module for each group of questions."""

from __future__ import annotations
