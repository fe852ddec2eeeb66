"""Where data sets are looked for."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from dgmcore.errors import DataError
from dgmcore.files.folders import user_cache, user_data

__all__ = ["cache_folder", "find_files", "places"]


def places(root: str | os.PathLike[str] | None = None) -> list[Path]:
    """Returns the folders in which data sets are looked for, the first to be looked at first.

    They are `root`, those of `$DGM_DATA` (separated as in `$PATH`), the user's data folder, and where
    Debian's packages put data sets.
    """

    named = [root] if root is not None else []
    named += [p for p in os.environ.get("DGM_DATA", "").split(os.pathsep) if p]
    named += [user_data() / "data", "/usr/share/datasets"]
    return [Path(p).expanduser() for p in named]


def cache_folder() -> Path:
    """Returns the folder for decoded images; it may not exist yet, or not be writable."""

    return user_cache() / "data"


def find_files(
    dataset: str,
    names: Iterable[Iterable[str]],
    *,
    root: str | os.PathLike[str] | None = None,
    folders: Iterable[str] = ("",),
    hint: str = "",
) -> list[Path]:
    """Returns the first place's files of which each has one of its alternative `names`.

    Arguments:
        dataset: The data set's name, for the error.
        names: For each file, the names that it may have.
        root: A folder to look in first.
        folders: The subfolders in which the files may lie.
        hint: What to do if they are nowhere.

    Raises:
        DataError: If no place has all of them; it says where they were looked for.
    """

    wanted = [tuple(n) for n in names]
    looked = places(root)
    for place in looked:
        for folder in folders:
            found = [
                next((place / folder / n for n in some if (place / folder / n).is_file()), None) for some in wanted
            ]
            if all(found):
                return [path for path in found if path is not None]
    first = " and ".join(some[0] for some in wanted)
    where = ", ".join(str(p) for p in looked)
    raise DataError(
        f"the data set {dataset} is not here: no {first} in {where}",
        hint or "put it there, or set DGM_DATA to its folder",
    )
