"""Entries by name: found, listed, and with the entries that they are composed of."""

from __future__ import annotations

from ..entry import read_entry, write_entry
from .find import Located, available, find, info, list_models, weights_path

__all__ = ["Located", "available", "find", "info", "list_models", "read_entry", "weights_path", "write_entry"]
