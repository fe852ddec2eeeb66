"""What may be imported: the path, and import strings, which is how plugins name classes and functions."""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from operator import attrgetter
from types import ModuleType
from typing import Any

from ..guards.one_file import USER_PACKAGE, make_importable

#: The folder that the core can be imported from.
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


def search_path() -> list[str]:
    """Returns the absolute folders and archives of `sys.path`, each once, without the current folder.

    What is in the current folder is data. Python itself puts it first for `-m` and `-c`; it stays only where
    `PYTHONPATH` or an installation names it by its absolute path, or where the core itself is in it.
    """
    paths = [p for p in sys.path if isinstance(p, str)]
    with suppress(OSError, IndexError):  # the current folder was deleted, or the path is empty
        if paths[0] == os.getcwd() and not sys.flags.safe_path:
            del paths[0]
    return list(dict.fromkeys(p for p in [*paths, HOME] if os.path.isabs(p)))


def import_module(name: str) -> ModuleType:
    """Imports a module, which may be a file of the user's plugin folder."""
    if name.split(".")[0] == USER_PACKAGE:
        make_importable()
    return importlib.import_module(name)


def import_string(string: str) -> Any:
    """Returns what ``module:name`` names."""
    module, _, name = string.partition(":")
    return attrgetter(name)(import_module(module))
