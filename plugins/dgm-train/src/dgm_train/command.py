"""`dgm train`."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Annotated

import typer

from dgmcore.cli import USUAL_GC
from dgmcore.cli.set_options import parse_set
from dgmcore.console import say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    recipe: Annotated[
        str, typer.Argument(help="The recipe, a YAML file; or an architecture, with DATA.", show_default=False)
    ],
    data: Annotated[
        str | None,
        typer.Argument(
            metavar="[DATA]", help="Data of your own: a folder of pictures, or as in `dgm score`.", show_default=False
        ),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override a key of the recipe: phases.0.steps=100."),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")] = False,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="DIR", help="Write the entry DIR/NAME.  [default: runs/NAME/registry]"),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="With DATA: the model's name.  [default: ARCHITECTURE-DATA]"),
    ] = None,
    minutes: Annotated[
        float | None, typer.Option("--minutes", metavar="M", help="With DATA: how long to train.  [default: 8]")
    ] = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="PIXELS", help="With DATA: the side of the pictures.  [default: at most 32]"),
    ] = None,
) -> None:
    """Train a model, in `runs/NAME`, and write it as a registry entry: by a recipe, or an architecture on your data.

    `dgm train conv-vae photos/` makes a first model of a folder of pictures in ten minutes, with settings that fit;
    `dgm list --architectures` shows what else there is.
    """

    from .engine import train
    from .parallel.distributed import Processes
    from .starter import asked_for

    gc.set_threshold(*USUAL_GC)  # a cycle that a step leaves behind may hold a graph of tensors
    what = asked_for(recipe, data, name=name, minutes=minutes, size=size)
    folder = train(what, out=out, resume=resume, set=parse_set(set_ or []))
    if not Processes().main:
        return  # the main process says it
    say(f"try it: {trial(folder)}")
    print(folder)


def trial(folder: Path) -> str:
    """Returns a command that shows what the model in `folder` can do."""

    from dgmcore.registry.listing import info

    name = str(folder) if folder.is_absolute() else f"./{folder}"
    model = info(name)
    can = model["capabilities"]
    if "generator" in can:
        return f"dgm sample {name}"
    if {"critic", "density"} & set(can):
        return f"dgm score {name} {model['dataset']}"
    if "encoder" in can:
        return f"dgm reconstruct {name} {model['dataset']}"
    return f"dgm eval {name}" if "features" in can else f"dgm info {name}"
