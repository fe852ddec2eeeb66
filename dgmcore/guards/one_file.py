"""The user's plugins in one file each, which run only as their owner has trusted them.

A file in the plugin folder may have come there in many ways. It runs only if its owner has said so
(`dgm plugins --trust NAME`), which records its sha256; and what is hashed is what is run.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import FileFinder, SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType

import msgspec

from ..errors import PluginError, UsageError
from ..files.atomic import replacing
from ..files.folders import user_data, user_plugins
from ..suggestions import did_you_mean

__all__ = ["USER_PACKAGE", "is_trusted", "make_importable", "trust", "trust_record"]

#: The package that the user's one-file plugins are modules of.
USER_PACKAGE = "dgm_user_plugins"


def make_importable() -> None:
    """Makes the files of the plugin folder modules of the package :data:`USER_PACKAGE`."""
    package = sys.modules.setdefault(USER_PACKAGE, ModuleType(USER_PACKAGE, "The user's one-file plugins."))
    folder = str(user_plugins())
    package.__path__ = [folder]
    sys.path_importer_cache[folder] = FileFinder(folder, (_TrustedLoader, [".py"]))


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
    if source is None:
        source = Path(path).read_bytes() if os.path.isfile(path) else b""
    return _trusted().get(os.path.basename(path)) == _sha256(source)


def trust(name: str) -> Path:
    """Records that a file of the plugin folder, named with or without `.py`, may run as it is now; returns its path.

    Raises:
        UsageError: If there is no such file.
    """
    folder, file_name = user_plugins(), f"{name.removesuffix('.py')}.py"
    known = os.listdir(folder) if folder.is_dir() else []
    if file_name not in known:
        raise UsageError(f"there is no file {file_name} in {folder}", did_you_mean(file_name, known, "put it there"))
    trusted = {**_trusted(), file_name: _sha256((folder / file_name).read_bytes())}
    with replacing(trust_record()) as file:
        file.write(msgspec.json.encode(trusted))
    return folder / file_name


def trust_record() -> Path:
    """The file that says which files of the plugin folder may run: their sha256 by name."""
    return user_data() / "trusted-plugins.json"


def _trusted() -> dict[str, str]:
    try:
        return msgspec.json.decode(trust_record().read_bytes(), type=dict[str, str])
    except (OSError, ValueError):
        return {}


def _sha256(content: bytes) -> str:
    import hashlib  # with OpenSSL: every start would wait for it

    return hashlib.sha256(content).hexdigest()
