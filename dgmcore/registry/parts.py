"""An entry, and all the entries that it is composed of."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..entry import ENTRY_FILE, PARTS
from ..errors import RegistryError

if TYPE_CHECKING:
    from .find import Located

__all__ = ["entry_parts", "find_part", "identity", "is_bare", "with_parts"]

#: How deep entries may be composed of entries.
MAX_DEPTH = 16


def find_part(name: str, folders: Sequence[Path]) -> Located:
    """Finds the entry that another names as its part.

    A published entry carries the entries that it is composed of in its folder `parts`, where they are looked for
    first; otherwise names mean what they mean in the registry.

    Arguments:
        name: The name in the entry's section `parts`.
        folders: The folders of the entries on the way down to that entry, outermost first.
    """

    from .find import find

    if is_bare(name):
        for folder in folders:
            inside = folder / PARTS / name
            if (inside / ENTRY_FILE).is_file():
                return find(str(inside.absolute()))
    return find(name)


def is_bare(name: str) -> bool:
    """Whether it is the bare name of an entry, rather than a path, an address or `plugin/name`."""

    return re.fullmatch(r"[a-z0-9][a-z0-9-]*", name) is not None


def identity(located: Located) -> str:
    """Returns what is the same for two findings of one entry."""

    return str(Path(located.folder).resolve()) if located.folder else located.full_name


def entry_parts(parts: Mapping[str, Any]) -> Iterator[str]:
    """Yields the names of entries in a section `parts`, those inside own parts included."""

    for part in parts.values():
        if isinstance(part, str):
            yield part
        else:
            yield from entry_parts(part.parts)


def with_parts(located: Located) -> list[Located]:
    """Returns an entry and the entries that it is composed of, each once, parts after what they are part of.

    Raises:
        RegistryError: If one is unknown, or entries name each other in a circle.
    """

    found: dict[str, Located] = {}

    def visit(located: Located, above: tuple[Located, ...]) -> None:
        check_circle(located, above)
        if identity(located) in found:
            return
        found[identity(located)] = located
        folders = [Path(a.folder) for a in (*above, located) if a.folder]
        for name in entry_parts(located.entry.parts):
            visit(find_part(name, folders), (*above, located))

    visit(located, ())
    return list(found.values())


def check_circle(located: Located, above: Sequence[Located]) -> None:
    """Raises a :class:`RegistryError` if an entry is among those that it is a part of, or these are too many."""

    if len(above) > MAX_DEPTH:
        way = " -> ".join(a.entry.name for a in above[:3])
        raise RegistryError(f"entries are parts of parts more than {MAX_DEPTH} deep: {way} -> ...", "compose fewer")
    keys = [identity(a) for a in above]
    if identity(located) in keys:
        circle = above[keys.index(identity(located)) :]
        way = " -> ".join(a.entry.name for a in (*circle, located))
        raise RegistryError(f"entries name each other as parts: {way}", "break the circle in their model.yaml")
