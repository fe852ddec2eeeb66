"""`dgm cache`: what takes how much on this machine, and what can be made again."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from dgmcore import console
from dgmcore.errors import DgmError
from dgmcore.files.folders import user_cache, user_data
from dgmcore.hub.cache import hub_cache, repo_folder
from dgmcore.plugins import current

__all__ = ["Place", "app", "places", "prune"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Place(msgspec.Struct):
    """A folder, what is in it, and what it takes.

    Attributes:
        what: What is in it.
        folder: Where it is.
        bytes: What it takes on the disk; a file with several names counts once.
        prunable: Whether `dgm cache --prune` removes it: it is made again when it is needed.
    """

    what: str
    folder: str
    bytes: int
    prunable: bool


def places() -> list[Place]:
    """Returns what dgm keeps on this machine, and the repositories of the Hub's cache that its entries name."""

    found = [Place(f"cache: {path.name}", str(path), _size(path), True) for path in _inside(user_cache())]
    for kind in ("plugins", "registry", "data"):
        folder = user_data() / kind
        if folder.is_dir():
            found.append(Place(f"yours: {kind}", str(folder), _size(folder), False))
    repos = {row.entry().weights.hub.repo for row in current.index().rows if _hub(row.entry())}  # type: ignore[union-attr]
    for repo in sorted(repos):
        folder = repo_folder(repo)
        if folder.is_dir():
            found.append(Place(f"weights: {repo}", str(folder), _size(folder), False))
    others = Path(hub_cache())
    if others.is_dir():
        rest = _size(others) - sum(p.bytes for p in found if p.what.startswith("weights: "))
        found.append(Place("Hub's cache, of other programs too", str(others), max(rest, 0), False))
    return found


def _hub(entry: object) -> bool:
    weights = getattr(entry, "weights", None)
    return weights is not None and weights.hub is not None


def _inside(folder: Path) -> Iterator[Path]:
    if folder.is_dir():
        yield from sorted(folder.iterdir())


def _size(path: Path) -> int:
    """Bytes of a file, or of all below a folder; links are not followed, and other names of a file don't count."""

    seen: set[tuple[int, int]] = set()
    total = 0
    files = [os.path.join(top, name) for top, _, names in os.walk(path) for name in names] or [str(path)]
    for file in files:
        try:
            stat = os.lstat(file)
        except OSError:  # it was removed meanwhile
            continue
        if (stat.st_dev, stat.st_ino) not in seen and not os.path.isdir(file):
            seen.add((stat.st_dev, stat.st_ino))
            total += stat.st_size
    return total


def prune() -> list[Place]:
    """Removes what can be made again at any time; returns what was removed.

    Raises:
        DgmError: If something can't be removed.
    """

    removed = [place for place in places() if place.prunable]
    for place in removed:
        path = Path(place.folder)
        try:
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
        except OSError as e:
            raise DgmError(f"can't remove {e.filename}: {e.strerror}", "check its permissions") from e
    return removed


@app.command()
def command(
    prune_: Annotated[bool, typer.Option("--prune", help="Remove what is made again when it is needed.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Show what takes how much on this machine.

    `--prune` removes dgm's own cache only: never entries, data or weights. For those see `dgm rm NAME`.
    """

    found = prune() if prune_ else places()
    if json:
        console.emit_json([msgspec.to_builtins(place) for place in found])
        return
    rows = [[p.what, console.size(p.bytes), "yes" if p.prunable else None, p.folder] for p in found]
    console.table(["what", "size", "prune", "folder"], rows, right=["size"], wrap="folder", drop=["prune", "folder"])
    if prune_:
        console.say(f"removed {console.size(sum(place.bytes for place in found))}")
