"""The index: everything that plugins and entries say, in one file of the user's cache.

Reading it needs no plugin, no YAML and no torch. The first line is the digest of the rest, which is the JSON of an
:class:`Index`. It is compiled anew (:mod:`dgmcore.plugins.compile`) when a file that it was made from has changed.
"""

# annotations are not postponed here: msgspec would evaluate each of them at every start

import os
from functools import cached_property
from zlib import crc32

import msgspec

from ..entry import Entry
from .core_commands import COMMANDS
from .records import KINDS, PluginRecord, Problem, Provided, Provides

#: When a file or folder last changed, its content or its rights, in ns; and its size.
State = tuple[int, int]


def file_state(path: str) -> State:
    """Returns the state of a file or folder now: (-1, -1) where there is none."""
    try:
        stat = os.stat(path)
    except (OSError, ValueError):
        return -1, -1
    return max(stat.st_mtime_ns, stat.st_ctime_ns), stat.st_size


class Row(msgspec.Struct, omit_defaults=True):
    """An entry of a registry, and what its name means."""

    name: str
    origin: str  # `environment`, `user`, or the plugin whose registry it is in
    path: str  # its file
    text: msgspec.Raw  # all of it, as JSON that is parsed when it is needed
    hidden: bool = False  # its bare name means another entry
    ambiguous: bool = False  # several plugins have an entry of this name: only full names mean one
    overrides: list[str] = []  # the full names of those that it hides

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path)

    @property
    def full_name(self) -> str:
        return f"{self.origin}/{self.name}"

    @property
    def shown_name(self) -> str:
        """The shortest name that means it."""
        return self.full_name if self.ambiguous else self.name

    def entry(self) -> Entry:
        """Returns the entry."""
        return msgspec.json.decode(self.text, type=Entry)


class InvalidEntry(msgspec.Struct):
    """An entry that can't be used: the origin and path that its row would have, and why."""

    origin: str
    path: str
    what: str
    hint: str


class Index(msgspec.Struct, dict=True):
    """The compiled index."""

    states: dict[str, State]  # of all files and folders that it was made from
    plugins: list[PluginRecord]
    rows: list[Row]  # by name, hidden ones included
    invalid: list[InvalidEntry]
    path: str | None = None  # where it is stored; None: it could not be

    @cached_property
    def provided(self) -> Provides:
        """What all plugins provide."""
        return merged(self.plugins)[0]

    def named(self, name: str) -> list[Row]:
        """Returns the entries that a bare or full name means: several where it is ambiguous."""
        origin, _, short = name.rpartition("/")
        named = (row for row in self.rows if row.name == short)
        return [row for row in named if (row.origin == origin if origin else not row.hidden)]

    def fresh(self) -> bool:
        """Tells whether all is as it was."""
        return all(file_state(path) == state for path, state in self.states.items())

    def content(self) -> bytes:
        """Returns the content of the file; raises a `UnicodeError` for paths that are no text."""
        text = msgspec.json.encode(self)
        return _digest(text) + b"\n" + text


def read(path: str | os.PathLike[str]) -> Index | None:
    """Reads an index, or returns None where there is none, or a byte of it is another."""
    try:
        with open(path, "rb") as file:
            digest, _, text = file.read().partition(b"\n")
        return msgspec.json.decode(text, type=Index) if digest == _digest(text) else None
    except (OSError, ValueError):
        return None


def _digest(content: bytes) -> bytes:
    return b"%08x" % crc32(content)  # for accidents; who may write here may write anything


def merged(plugins: list[PluginRecord]) -> tuple[Provides, list[tuple[PluginRecord, Problem]]]:
    """Gives each name to the first plugin that claims it; returns what is theirs, and the claims that come too late."""
    provides, late = Provides(), []
    for plugin in plugins:
        for kind in KINDS:
            known: dict[str, Provided] = getattr(provides, kind)
            for name, thing in getattr(plugin.provides, kind).items():
                if name not in known and not (kind == "commands" and name in COMMANDS):
                    known[name] = thing
                    continue
                owner = f"plugin {known[name].plugin}" if name in known else "dgm itself"
                what = f"{kind.removesuffix('s')} {name} is already provided by {owner}"
                hint = "rename it in this plugin, or load one of the two: DGM_PLUGINS=..."
                late.append((plugin, Problem(what, hint)))
    return provides, late
