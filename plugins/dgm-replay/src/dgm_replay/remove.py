"""`dgm rm`: remove an entry of one's own, or the fetched weights of another."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import msgspec
import typer

from dgmcore import console
from dgmcore.calls.listing import weights_path
from dgmcore.cli.complete import model_names
from dgmcore.entry import ENTRY_FILE, PARTS
from dgmcore.errors import DgmError, RegistryError, UsageError
from dgmcore.hub.cache import discard
from dgmcore.plugins import current
from dgmcore.registry import find
from dgmcore.registry.find import Located

__all__ = ["Removal", "app", "carry_out", "plan"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Removal(msgspec.Struct):
    """What is removed.

    Attributes:
        name: The entry.
        files: Files and folders, of its own folder or of the Hub's cache.
        bytes: What they take.
        entry: Whether the entry goes too, or its fetched weights only.
        users: Entries that have it as a part.
        left: What else is in its folder, which stays.
    """

    name: str
    files: list[str]
    bytes: int
    entry: bool
    users: list[str]
    left: list[str]


def plan(name: str) -> Removal:
    """Says what `dgm rm` would remove.

    Raises:
        RegistryError: If there is no such model.
        UsageError: If there is nothing that could be removed: it came with the core or a plugin.
    """

    located = find(name)
    entry = located.entry
    users = sorted({r.full_name for r in current.index().rows if entry.name in r.entry().part_names()})
    if located.origin in ("user", "environment", "folder"):
        files = _own_files(located)
        left = sorted(p.name for p in located.folder.iterdir() if p not in files)
        return Removal(entry.name, [str(p) for p in files], sum(map(_size, files)), True, users, left)
    weights = None if entry.weights is None else weights_path(located.folder, entry.weights)
    if weights is None or (Path(weights).parent == located.folder and located.origin != "hub"):
        what = f"{entry.name} came with {located.origin}, and has no fetched weights to remove"
        raise UsageError(what, "uninstall the package that brings it, or remove entries of your own")
    return Removal(entry.name, [weights], _size(Path(weights)), False, users, [])


def _own_files(located: Located) -> list[Path]:
    """What makes an entry: other files in its folder are not ours."""

    weights = located.entry.weights
    names = [ENTRY_FILE, PARTS, "samples.png", "README.md", *([weights.file] if weights else [])]
    return [path for path in (located.folder / name for name in dict.fromkeys(names)) if path.exists()]


def _size(path: Path) -> int:
    files = path.rglob("*") if path.is_dir() else [path]
    return sum(p.stat().st_size for p in files if p.is_file())


def carry_out(removal: Removal) -> None:
    """Removes what was planned: the entry's description first, so that what is left half way is no entry.

    Raises:
        DgmError: If something can't be removed.
    """

    try:
        for path in map(Path, removal.files):
            if not removal.entry:
                discard(path)
            elif path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()
        folder = Path(removal.files[0]).parent
        if removal.entry and not removal.left:
            folder.rmdir()
    except OSError as e:
        raise DgmError(f"can't remove {e.filename}: {e.strerror}", "check its permissions") from e


@app.command()
def command(
    name: Annotated[str, typer.Argument(help="The model.", autocompletion=model_names)],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Don't ask.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Also where other models have it as a part.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was removed as JSON; needs --yes.")] = False,
) -> None:
    """Remove an entry of your own, or the fetched weights of one that came with a package or from the Hub.

    Only files that make the entry are removed: others in its folder stay. Weights from the Hub can be pulled again.
    """

    removal = plan(name)
    if removal.users and not force:
        what = f"{removal.name} is a part of {', '.join(removal.users)}"
        raise RegistryError(what, "remove these first, or say --force")
    if not yes:
        if json or not sys.stdin.isatty():
            raise UsageError(f"{removal.name} would be removed: {', '.join(removal.files)}", "say --yes to do it")
        console.say("\n".join(removal.files))
        typer.confirm(f"remove these {console.size(removal.bytes)}?", abort=True, err=True)
    carry_out(removal)
    if json:
        console.emit_json(msgspec.to_builtins(removal))
    else:
        what = "the entry" if removal.entry else "its weights; the entry stays"
        print(f"{removal.name}: removed {what}, {console.size(removal.bytes)}")
        if removal.left:
            console.say(f"other files stay: {', '.join(removal.left)}")
