"""Import strings: how plugins name classes and functions without importing them."""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import Any

__all__ = ["USER_PACKAGE", "import_module", "import_string"]

#: The package that the user's one-file plugins are modules of.
USER_PACKAGE = "dgm_user_plugins"


def import_module(name: str) -> ModuleType:
    """Imports a module; those of the user's plugin folder are in the package :data:`USER_PACKAGE`."""

    if name.split(".")[0] == USER_PACKAGE:
        from ..files.folders import user_plugins

        package = sys.modules.setdefault(USER_PACKAGE, ModuleType(USER_PACKAGE, "The user's one-file plugins."))
        package.__path__ = [str(user_plugins())]
    return importlib.import_module(name)


def import_string(string: str) -> Any:
    """Returns what ``module:name`` names."""

    module, _, name = string.partition(":")
    value: Any = import_module(module)
    for part in name.split("."):
        value = getattr(value, part)
    return value
