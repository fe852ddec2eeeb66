"""`dgm page`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmcore.cli.arguments import ModelName
from dgmcore.errors import UsageError
from dgmcore.files.atomic import replacing

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: ModelName,
    out: Annotated[Path, typer.Option(metavar="FILE.html", help="The page that is written.", show_default=False)],
    seed: Annotated[int, typer.Option(help="Of the samples on it.", min=0)] = 0,
) -> None:
    """Write a page of one small model that needs no server and asks for nothing: to put on a web site.

    It has samples, the pad of a model with two latents, the sampler's way, and the density of a model of the plane.
    """

    if out.suffix.lower() not in (".html", ".htm"):
        raise UsageError(f"--out {out}: a page is HTML", "give it a name that ends in .html")

    from dgmcore import load

    from .standalone import standalone

    text = standalone(load(name), name, seed)
    with replacing(out.expanduser()) as file:
        file.write(text.encode())
    print(out)
