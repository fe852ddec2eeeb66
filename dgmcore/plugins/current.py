"""The index of this moment: read from the cache, and compiled anew where something has changed."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from zlib import crc32

from ..errors import DgmError, PluginError
from ..files.atomic import replacing
from ..files.folders import environment_registries, user_cache, user_data
from ..version import __version__
from .imports import search_path
from .index import Index, read

FORMAT = 3
KEPT = 32  # indices of other environments and settings that the cache keeps


class _Memory:
    latest: tuple[Path, Index] | None = None  # the last index of this process, and where one of its settings is stored
    once = False  # inside `checked_once`
    checked = False  # and compared there with the files that it was made from


@contextmanager
def checked_once() -> Iterator[None]:
    """Within the block, which is one command, the index is compared with the files that it was made from only once."""
    before, _Memory.once, _Memory.checked = _Memory.once, True, False
    try:
        yield
    finally:
        _Memory.once = before


def index() -> Index:
    """Returns the index, compiled anew if anything that it was made from has changed."""
    if os.environ.get("DGM_INDEXING"):
        raise PluginError("a plugin asks for the registry while it is imported", "do that inside a function")
    if _Memory.latest is not None and _Memory.once and _Memory.checked:
        return _Memory.latest[1]
    path = _path()
    found = _known(path)
    if found is None or not found.fresh():
        return rebuild()
    _Memory.latest, _Memory.checked = (path, found), True
    return found


def rebuild(*, anew: bool = False) -> Index:
    """Compiles the index, and stores it unless it may be wrong the next moment, or the cache can't be written.

    With `anew` every plugin is loaded and every entry read, also where nothing has changed.
    """
    from .compile import compile_index  # pluggy and the metadata of distributions: after an install or an edit only

    path = _path()
    previous = None if anew else _known(path)
    if previous is None and not anew:  # of other settings and the same core: its plugins are often the same
        with suppress(OSError, ValueError):
            previous = read(max(path.parent.glob(f"{path.name.partition('-')[0]}-*.json"), key=os.path.getmtime))
    found = compile_index(previous)
    passing = any(problem.passing for plugin in found.plugins for problem in plugin.problems)
    if found.plugins[0].status == "ok" and not passing:  # the core works, and so did the machine
        found.path = str(path)
        try:
            with replacing(path) as file:
                file.write(found.content())
        except (DgmError, UnicodeError):  # it stays in memory
            found.path = None
        with suppress(OSError):
            for old in sorted(path.parent.iterdir(), key=os.path.getmtime)[:-KEPT]:
                old.unlink()
    _Memory.latest, _Memory.checked = (path, found), True
    return found


def _known(path: Path) -> Index | None:
    """Returns the last index of these settings, fresh or not."""
    return _Memory.latest[1] if _Memory.latest is not None and _Memory.latest[0] == path else read(path)


def _path() -> Path:
    """Returns where the index is stored: each core and Python, each environment and each setting has its own."""
    core = [FORMAT, __version__, sys.version, sys.prefix, os.path.dirname(__file__)]
    place = [search_path(), environment_registries(), user_data(), os.environ.get("DGM_PLUGINS")]
    digests = (f"{crc32(repr(parts).encode('utf-8', 'surrogatepass')):08x}" for parts in (core, place))
    return user_cache() / "index" / f"{'-'.join(digests)}.json"
