"""`dgm convert`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ...console import emit_json, say
from ...entry import read_entry
from ..complete import formats
from ..set_options import parse_set


def command(
    files: Annotated[
        list[str],
        typer.Argument(metavar="FILE...", help="The files of one checkpoint, their folder, or hf://USER/REPO."),
    ],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="Name of the new entry.")],
    format: Annotated[
        str | None,
        typer.Option(
            "--format", metavar="F", help="Format of the files.  [default: found out]", autocompletion=formats
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="DIR", help="Write the entry DIR/NAME.  [default: your registry]")
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="What the files don't say: config, dataset, license, url."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Make an entry of somebody else's checkpoint.

    Reads torch files without running code from them. Prints the folder of the new entry.
    """
    from ...conversion import convert

    folder = convert(files, name, format, out, **parse_set(set_ or []))
    entry = read_entry(folder)
    if json:
        emit_json({"name": entry.name, "license": entry.license, "out": str(folder)})
        return
    say(f"licence of these weights: {entry.license}")
    print(folder)
