"""The index: everything that plugins and entries say, compiled into one file of the user's cache.

The first line of the file is the digest of the rest. The second is a JSON object: the states of the
files that it was made from, the plugins, and a row for each entry. Every further line is one entry in
full. Reading it needs no plugin, no YAML and no torch; it is rebuilt when a state differs
(:mod:`dgmcore.plugins.compile`).
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import Any

from ..errors import PluginError
from ..files.folders import environment_registries, user_cache, user_data

__all__ = ["FORMAT", "Index", "current", "file_state", "metadata_state", "rebuild"]

FORMAT = 2
RACY = 20_000_000  # ns: a file that was written this recently may change again unnoticed

State = list[Any]  # path, modification time, size; -1 where a file is missing


class Index:
    """The compiled index.

    Attributes:
        plugins: A record of each plugin, in order.
        rows: A row for each entry, hidden ones included.
        invalid: The entries that can't be used, each with `path, origin, what, hint`.
        path: The file that it was read from; None if it is only in memory.
    """

    def __init__(self, head: dict[str, Any], entries: bytes, path: str | None):
        self.head, self.path = head, path
        self.plugins: list[dict[str, Any]] = head["plugins"]
        self.rows: list[dict[str, Any]] = head["rows"]
        self.invalid: list[dict[str, Any]] = head["invalid"]
        self._entries = entries
        self._by_name: dict[str, list[dict[str, Any]]] | None = None

    def provided(self, kind: str) -> dict[str, dict[str, Any]]:
        """Returns what plugins provide of a kind, by name; each record has the key `plugin`."""
        return {
            name: {**record, "plugin": plugin["name"]}
            for plugin in self.plugins
            for name, record in plugin[kind].items()
        }

    def entry(self, row: dict[str, Any]) -> dict[str, Any]:
        """Returns the entry of a row in full, as plain data."""
        return json.loads(self._entries.split(b"\n")[row["line"]])

    def named(self, name: str) -> list[dict[str, Any]]:
        """Returns the rows of a name: those that are not hidden first."""
        if self._by_name is None:
            self._by_name = {}
            for row in self.rows:
                self._by_name.setdefault(row["name"], []).append(row)
        return sorted(self._by_name.get(name, []), key=lambda row: row["hidden"])

    def bytes(self) -> bytes:
        """Returns the content of the file."""
        head = json.dumps({**self.head, "size": len(self._entries)}, separators=(",", ":"))
        return sealed(head.encode() + b"\n" + self._entries)


_memory: dict[str, Index] = {}  # the last index of this process, by key


def current() -> Index:
    """Returns the index, rebuilt if anything that it was made from has changed."""

    if os.environ.get("DGM_INDEXING"):
        raise PluginError("a plugin asks for the registry while it is imported", "do that inside a function")
    key = _key()
    index = _memory.get(key)
    if index is None or not _fresh(index.head):
        index = _read(key)
        if index is None or index.head["retry"] or not _fresh(index.head):
            index = rebuild(index)
        _memory.clear()
        _memory[key] = index
    return index


def rebuild(previous: Index | None = None, *, anew: bool = False) -> Index:
    """Compiles the index and stores it, if the cache can be written.

    Arguments:
        previous: What is unchanged is taken from here.
        anew: Whether to load every plugin, whatever the cache knows of it.
    """

    from . import compile as indexing

    key = _key()
    path = _path(key)
    head, entries = indexing.compile_index(previous, anew=anew)
    index = Index({"format": FORMAT, "key": key, **head}, entries, path)
    if not indexing.write_cache(path, index.bytes()):
        index.path = None
    _memory.clear()
    _memory[key] = index
    return index


def _key() -> str:
    """Identifies what is installed where: environments and settings have indices of their own."""

    from hashlib import blake2b

    from ..version import __version__

    parts = [
        FORMAT,
        __version__,
        sys.version,
        sys.prefix,
        os.path.dirname(__file__),
        search_path(),
        [str(p) for p in environment_registries()],
        str(user_data()),
        os.environ.get("DGM_PLUGINS"),
    ]
    return blake2b(json.dumps(parts).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


def _path(key: str) -> str:
    return str(user_cache() / "index" / f"{key}.jsonl")


def search_path() -> list[str]:
    """Returns the absolute folders and archives of `sys.path`, each once."""
    return list(dict.fromkeys(os.path.abspath(p) for p in sys.path if isinstance(p, str)))


def _read(key: str) -> Index | None:
    """Reads the index of a key, or returns None where there is none or it is damaged."""

    path = _path(key)
    try:
        with open(path, "rb") as file:
            first, _, entries = unsealed(file.read()).partition(b"\n")
        head = json.loads(first)
        if head["format"] != FORMAT or head["key"] != key or head["size"] != len(entries):
            return None
        return Index(head, entries, path)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def sealed(content: bytes) -> bytes:
    """Returns the content of a file of the cache with its digest before it."""
    return _digest(content) + b"\n" + content


def unsealed(content: bytes) -> bytes:
    """Returns what was sealed.

    Raises:
        ValueError: If a byte of it is another now.
    """

    digest, _, rest = content.partition(b"\n")
    if digest != _digest(rest):
        raise ValueError("damaged")
    return rest


def _digest(content: bytes) -> bytes:
    from hashlib import blake2b

    return blake2b(content, digest_size=16).hexdigest().encode()


def _fresh(head: dict[str, Any]) -> bool:
    """Tells whether all states are as they were."""

    try:
        if any(file_state(state[0]) != state for state in head["files"]):
            return False
        return not stale_paths(head)
    except (KeyError, TypeError, IndexError):
        return False


def stale_paths(head: dict[str, Any]) -> list[str]:
    """Returns the places of `sys.path` whose installed distributions have changed.

    A folder's own time is enough if it is unchanged; otherwise (somebody wrote a picture into
    the current folder) the distributions in it are compared.
    """

    return [
        path for path, state, digest in head["paths"] if file_state(path) != state and metadata_state(path) != digest
    ]


def file_state(path: str) -> State:
    """Returns the state of a file or folder: its path, time and size."""

    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return [path, -1, -1]
    return [path, stat.st_mtime_ns, stat.st_size]


def settled(states: Iterable[State]) -> list[State]:
    """Returns states fit to be stored: that of a file written just now matches nothing, so it is read again."""

    now = time.time_ns()
    return [[path, -2 if 0 <= now - time_ns < RACY else time_ns, size] for path, time_ns, size in states]


def metadata_state(path: str) -> str:
    """Returns a digest of the distributions that are installed in a folder."""

    from hashlib import blake2b

    try:
        with os.scandir(path) as items:
            found = [(i.name, i.stat().st_mtime_ns) for i in items if i.name.endswith((".dist-info", ".egg-info"))]
    except OSError:
        found = []
    return blake2b(json.dumps(sorted(found)).encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()
