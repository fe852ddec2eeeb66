"""What may be imported: the path, import strings, by which plugins name classes and functions, and the user's files.

A file in the user's plugin folder may have come there in many ways. It runs only if its owner has said so
(`dgm plugins --trust NAME`), which records its sha256; and what is hashed is what is run.
"""

from __future__ import annotations

import importlib
import os
import sys
from contextlib import suppress
from importlib.machinery import FileFinder, SourceFileLoader
from operator import attrgetter
from pathlib import Path
from types import CodeType, ModuleType
from typing import Any

import msgspec

from ..errors import PluginError
from ..files.folders import user_data, user_plugins

#: The folder that the core can be imported from.
HOME = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
#: The package that the user's one-file plugins are modules of.
USER_PACKAGE = "dgm_user_plugins"


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
        package = sys.modules.setdefault(USER_PACKAGE, ModuleType(USER_PACKAGE, "The user's one-file plugins."))
        folder = str(user_plugins())
        package.__path__ = [folder]
        sys.path_importer_cache[folder] = FileFinder(folder, (_TrustedLoader, [".py"]))
    return importlib.import_module(name)


def import_string(string: str) -> Any:
    """Returns what ``module:name`` names."""
    module, _, name = string.partition(":")
    return attrgetter(name)(import_module(module))


class _TrustedLoader(SourceFileLoader):
    """Runs a file if it is what its owner trusted; never from `__pycache__`, where others may have written."""

    def get_code(self, fullname: str) -> CodeType:
        source = Path(self.path).read_bytes()
        if not is_trusted(self.path, source):
            stem = Path(self.path).stem
            raise PluginError(f"{self.path} is new or has changed, so it does not run", f"dgm plugins --trust {stem}")
        code: CodeType = compile(source, self.path, "exec", dont_inherit=True)
        return code


def is_trusted(path: str, source: bytes | None = None) -> bool:
    """Tells whether a file of the plugin folder, whose content may be read already, is what its owner trusted."""
    import hashlib  # with OpenSSL: every start would wait for it

    if source is None:
        source = Path(path).read_bytes() if os.path.isfile(path) else b""
    return trusted().get(os.path.basename(path)) == hashlib.sha256(source).hexdigest()


def trusted() -> dict[str, str]:
    """Returns the sha256 of each file of the plugin folder that may run, by its name."""
    try:
        return msgspec.json.decode(trust_record().read_bytes(), type=dict[str, str])
    except (OSError, ValueError):
        return {}


def trust_record() -> Path:
    """The file that says so."""
    return user_data() / "trusted-plugins.json"
