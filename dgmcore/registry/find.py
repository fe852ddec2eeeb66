"""Finds what a name means: an entry of a registry, a folder or a repository on the Hub; and what it is composed of."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path

import msgspec

from ..entry import ENTRY_FILE, PARTS, Entry, check_part, read_entry
from ..errors import RegistryError
from ..hub.cache import source_of, split_address
from ..plugins import current
from ..plugins.index import Index, Row
from ..suggestions import did_you_mean

DEEPEST = 32  # parts of parts; what is nested deeper was not written by hand


class Located(msgspec.Struct, frozen=True):
    """An entry and where it was found."""

    entry: Entry
    folder: Path  # weights are looked for here first
    origin: str  # `core`, a plugin's name, `user`, `environment`, `folder` or `hub`
    full_name: str  # the name that no other entry has: `origin/name`, or the folder or repository
    overrides: list[str] = []  # the full names of entries that this one hides


def find(name: str | os.PathLike[str]) -> Located:
    """Finds an entry by name, by `plugin/name`, by folder (`./my-model`) or on the Hub (`hf://user/repo@revision`).

    Raises:
        RegistryError: If there is none (with the nearest three names), several, or an invalid one.
    """
    name = os.fspath(name)
    if name.startswith("hf://"):
        from ..hub.fetch import fetch_entry  # the Hub's client: listing needs none

        folder = fetch_entry(*split_address(name))
        return Located(read_entry(folder), folder, "hub", name)
    if name.startswith((".", "~")) or os.path.isabs(name) or name.endswith(("/", os.sep, ".yaml")):
        return _in_folder(name)
    index = current.index()
    rows = index.named(name)
    if len(rows) == 1:
        return located(rows[0])
    if rows:
        candidates = " or ".join(row.full_name for row in rows)
        raise RegistryError(f"{name} is the name of {len(rows)} models", f"say which: {candidates}")
    if "/" in name and os.path.isfile(os.path.join(name, ENTRY_FILE)):
        return _in_folder(name)
    raise _unknown(index, name)


def located(row: Row) -> Located:
    """Returns the entry of a row of the index."""
    return Located(row.entry(), Path(row.folder), row.origin, row.full_name, row.overrides)


def _unknown(index: Index, name: str) -> RegistryError:
    """Returns the error for a name that means nothing: what is wrong with the entry of that name, if there is one."""
    origin, _, short = name.rpartition("/")
    for bad in index.invalid:
        if os.path.basename(os.path.dirname(bad.path)) == short and origin in ("", bad.origin):
            return RegistryError(bad.what, bad.hint)
    if not index.rows:
        return RegistryError(f"there is no model {name}: none is installed", "pip install dgm-weights")
    if name in index.provided.architectures:
        return RegistryError(f"{name} is an architecture, without weights", f"dgm train {name} DATA")
    known = {row.full_name if origin else row.shown_name for row in index.rows if origin in ("", row.origin)}
    known = known or {row.full_name for row in index.rows}  # nothing is of that origin
    repo = re.sub(r"(?i)^(hf:/*|https?://[^/]+/|(www\.)?(huggingface\.co|hf\.co)/)", "", name).strip("/")
    otherwise = f"of a repository on the Hub say hf://{repo}" if repo.count("/") == 1 else "see `dgm list`"
    hint = _inside(name) or did_you_mean(name, known, did_you_mean(name, index.provided.architectures, otherwise))
    return RegistryError(f"there is no model {name}", hint)


def _inside(folder: str) -> str:
    """Returns a hint that names the entries in a folder that is a run or a registry; empty if there are none."""
    patterns = (f"*/{ENTRY_FILE}", f"registry/*/{ENTRY_FILE}") if os.path.isdir(folder) else ()
    found = [str(path.parent) for pattern in patterns for path in sorted(Path(folder).glob(pattern))]
    return f"in this folder there is {' and '.join(found[:3])}" if found else ""


def _in_folder(name: str) -> Located:
    folder = Path("" if "\0" in name else os.path.expanduser(name)).absolute()
    if folder.name == ENTRY_FILE:
        folder = folder.parent
    if "\0" in name or not os.path.isfile(folder / ENTRY_FILE):
        what = f"{name} holds no {ENTRY_FILE}" if os.path.isdir(folder) else f"there is no folder {name}"
        hint = "name a folder that `dgm train` or `dgm convert` wrote, or a model of `dgm list`"
        raise RegistryError(what, _inside(name) or hint)
    return Located(read_entry(folder), folder, "folder", str(folder))


def find_part(name: str, folders: Sequence[Path]) -> Located:
    """Finds the entry that another names as its part.

    A published entry carries the entries that it is composed of in its folder `parts`, where they are looked for
    first, in all `folders` on the way down to that entry; otherwise names mean what they mean in the registry.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):  # a bare name, no path, address or `plugin/name`
        for folder in folders:
            inside = folder / PARTS / name
            if (inside / ENTRY_FILE).is_file():
                return find(inside.absolute())
    elif folders and (source := source_of(folders[-1])):  # of a Hub, whoever fetched it
        check_part(name, source[0])
    return find(name)


def identity(located: Located) -> str:
    """Returns what is the same for two findings of one entry."""
    return str(located.folder.resolve())


def with_parts(located: Located) -> list[Located]:
    """Returns an entry and the entries that it is composed of, each once, parts after what they are part of.

    Raises:
        RegistryError: If one is unknown, or entries name each other in a circle.
    """
    found: dict[str, Located] = {}

    def visit(located: Located, above: list[Located]) -> None:
        check_circle(located, above)
        if found.setdefault(identity(located), located) is located:
            below = [*above, located]
            for name in located.entry.part_names():
                visit(find_part(name, [a.folder for a in below]), below)

    visit(located, [])
    return list(found.values())


def check_circle(located: Located, above: Sequence[Located]) -> None:
    """Raises a :class:`RegistryError` if an entry is among those that it is a part of, or too deep below them."""
    keys = [identity(a) for a in above]
    if identity(located) in keys:
        circle = above[keys.index(identity(located)) :]
        way = " -> ".join(a.entry.name for a in (*circle, located))
        raise RegistryError(f"entries name each other as parts: {way}", "break the circle in their model.yaml")
    if len(above) > DEEPEST:
        what = f"{above[0].entry.name} has parts of parts, more than {DEEPEST} deep"
        raise RegistryError(what, "compose it of fewer entries")
