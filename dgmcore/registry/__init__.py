"""Entries by name: found, and with the entries that they are composed of."""

from ..entry import read_entry, write_entry
from .find import Located, find

__all__ = ["Located", "find", "read_entry", "write_entry"]
