"""`dgm replay`: make a file of samples again, and say whether the bits agree."""

from __future__ import annotations

from typing import Annotated

import typer

from dgmcore import console
from dgmcore.cli import complete

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    file: Annotated[str, typer.Argument(help="A file that dgm wrote, or a folder of pictures.")],
    model: Annotated[
        str | None,
        typer.Option(help="The model, if it is called otherwise now.", autocompletion=complete.model_names),
    ] = None,
    init: Annotated[str | None, typer.Option(help="The picture that sampling started from, if it was moved.")] = None,
    device: Annotated[str | None, typer.Option(help="Another device than then.")] = None,
    out: Annotated[str | None, typer.Option(help="Keep what is made now in this file, or folder.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the result as JSON.")] = False,
) -> None:
    """Make a file of samples again from the record in it, and say whether the bits agree.

    Where they don't, it says what differs, and what has changed since: weights, configs, options, versions, the
    machine. Exit code 0 if the samples are equal, 1 if not.
    """

    import msgspec

    from .replay import replay

    done = replay(file, model=model, init=init, device=device, out=out)
    if json:
        console.emit_json(msgspec.to_builtins(done))
    else:
        print(f"{done.file}: {'equal, bit by bit' if done.equal else 'not equal'}")
        for line in done.differences:
            print(console.wrapped(console.printable(f"  {line}"), "    "))
        if done.changed:
            print("changed since it was made:")
            for line in done.changed:
                print(console.wrapped(console.printable(f"  {line}"), "    "))
        elif not done.equal:
            print("nothing that the record knows has changed")
    raise typer.Exit(0 if done.equal else 1)
