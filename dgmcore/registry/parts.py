"""An entry, and all the entries that it is composed of."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from ..entry import ENTRY_FILE, PARTS
from ..errors import RegistryError
from .find import Located, find

DEEPEST = 32  # parts of parts; what is nested deeper was not written by hand


def find_part(name: str, folders: Sequence[Path]) -> Located:
    """Finds the entry that another names as its part.

    A published entry carries the entries that it is composed of in its folder `parts`, where they are looked for
    first; otherwise names mean what they mean in the registry.

    Arguments:
        name: The name in the entry's section `parts`.
        folders: The folders of the entries on the way down to that entry, outermost first.
    """
    if re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):  # a bare name, no path, address or `plugin/name`
        for folder in folders:
            inside = folder / PARTS / name
            if (inside / ENTRY_FILE).is_file():
                return find(inside.absolute())
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
