"""Entries by name: found, listed, and with the entries that they are composed of."""

from __future__ import annotations

from ..entry import read_entry, write_entry
from .find import Located, find
from .listing import info, list_models

__all__ = ["Located", "find", "info", "list_models", "read_entry", "write_entry"]
