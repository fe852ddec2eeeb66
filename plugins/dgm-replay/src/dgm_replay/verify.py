"""`dgm verify`: whether weights on this machine are what their entries say."""

from __future__ import annotations

import os
from typing import Annotated, Literal

import msgspec
import typer

from dgmcore import console
from dgmcore.calls.listing import list_models, weights_path
from dgmcore.cli.complete import model_names
from dgmcore.errors import DgmError, UsageError
from dgmcore.files.safetensors import read_header
from dgmcore.files.verify import difference, open_regular
from dgmcore.registry import find
from dgmcore.registry.find import Located, with_parts

__all__ = ["Verified", "app", "verify"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


class Verified(msgspec.Struct):
    """What was found of one entry's weights.

    Attributes:
        name: The entry.
        status: They are what the entry says; something else; not here; or it has none of its own.
        text: How they differ, or where they are.
        sha256: What the entry says.
    """

    name: str
    status: Literal["ok", "wrong", "missing", "to pull", "none"]
    text: str
    sha256: str | None = None


def verify(name: str) -> list[Verified]:
    """Hashes the weights of a model and of its parts, whatever was verified before.

    Raises:
        RegistryError: If there is no such model.
    """

    return [_verified(located) for located in with_parts(find(name))]


def _verified(located: Located) -> Verified:
    entry, weights = located.entry, located.entry.weights
    if weights is None:
        return Verified(entry.name, "none", "has no weights of its own")
    path = weights_path(located.folder, weights)
    if path is None:
        if weights.hub is not None:
            return Verified(entry.name, "to pull", f"dgm pull {entry.name}", weights.sha256)
        return Verified(entry.name, "missing", os.path.join(located.folder, weights.file), weights.sha256)
    try:
        with open_regular(path) as file:
            wrong = difference(file, weights.size, weights.sha256)
        if wrong is None:
            read_header(path)
    except OSError as e:
        wrong = str(e.strerror or e)
    except DgmError as e:
        wrong = e.what
    if wrong is not None:
        return Verified(entry.name, "wrong", f"{path}: {wrong}", weights.sha256)
    said = str(path) if weights.sha256 else f"{path}: the entry states no sha256"
    return Verified(entry.name, "ok", said, weights.sha256)


@app.command()
def command(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="NAME...", help="Models.", autocompletion=model_names)
    ] = None,
    all: Annotated[bool, typer.Option("--all", help="Every model of the registry.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Hash weights anew and compare them with what their entries say, those of the parts too.

    Exit code 1 if a file is another, or is missing. Weights that are still on the Hub only are no failure with --all.
    """

    if bool(names) == all:
        raise UsageError("name the models to verify, or say --all", "for example: dgm verify realnvp-moons")
    found: dict[tuple[str, str], Verified] = {}
    for name in names or [model["name"] for model in list_models()]:
        found |= {(one.name, one.text): one for one in verify(name)}
    rows = list(found.values())
    if json:
        console.emit_json([msgspec.to_builtins(row) for row in rows])
    else:
        console.table(["model", "weights", ""], [[row.name, row.status, row.text] for row in rows], wrap="")
    bad = {"wrong", "missing"} if all else {"wrong", "missing", "to pull"}
    raise typer.Exit(1 if any(row.status in bad for row in rows) else 0)
