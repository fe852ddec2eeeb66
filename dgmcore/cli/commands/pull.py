"""`dgm pull`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import typer

from ... import console as output
from ...calls.pulling import Pulled, pull
from ...errors import UsageError
from ...plugins import call
from ..complete import model_names


def command(
    names: list[str] = typer.Argument(
        None,
        metavar="NAME...",
        help="Models; hf://USER/REPO fetches from any Hub repository.",
        autocompletion=model_names,
    ),
    all: bool = typer.Option(False, "--all", help="Every model that has weights."),
    revision: str = typer.Option(
        None, "--revision", metavar="R", help="Commit, tag or branch, instead of the entry's."
    ),
    verify_key: Path = typer.Option(
        None, "--verify-key", metavar="KEY", help="Check the signature of hf://USER/REPO by a public key, and pin it."
    ),
    json: bool = typer.Option(False, "--json", help="Print what was fetched as JSON."),
) -> None:
    """Fetch weights from the Hub and verify them.

    Prints a line for each entry, with its licence; weights that are here already are only verified. What fails is named
    at the end, and keeps nothing else from being fetched.
    """
    if bool(names) == all:
        raise UsageError("name the models to pull, or say --all", "for example: dgm pull realnvp-moons")
    if verify_key and (all or revision):
        raise UsageError("a signature is that of one repository", "dgm pull hf://USER/REPO@REVISION --verify-key KEY")
    records: list[dict[str, Any]] = []

    def report(done: Pulled) -> None:
        records.append({**done._asdict(), "path": done.path and str(done.path)})
        if not json:
            size = output.size(done.size) if done.path else "no weights of its own"
            line = f"{done.name}: {size}, licence {output.printable(done.license, 200)}"
            print(output.wrapped(f"{line}, {done.path}" if done.path else line, "  "), flush=True)

    try:
        if verify_key:
            for name in names:
                for done in call("pull_signed")(name, verify_key):
                    report(done)
        else:
            pull(names or (), all=all, revision=revision, report=report)
    finally:
        if json and records:
            output.emit_json(records)
