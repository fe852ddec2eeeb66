"""`dgm push`."""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from dgmcore import console as output
from dgmcore.cli.complete import model_names

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="The model; a folder such as ./my-model too.", autocompletion=model_names),
    ],
    repo: Annotated[str, typer.Option("--repo", metavar="USER/REPO", help="The repository; made if need be.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and the card, send nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was published, or would be, as JSON.")] = False,
) -> None:
    """Publish a model on the Hub.

    Config, weights, model card, samples and licence go into one commit; the parts of a composed model come with it.
    """

    from .publish import push

    done = push(name, repo, dry_run=dry_run)
    if json:
        output.emit_json({**msgspec.to_builtins(done), "sent": not dry_run})
    elif dry_run:
        output.table(["file", "size"], [[p, output.size(n)] for p, n in done.files.items()], right=["size"])
        print()
        print(done.card, end="")
        output.say(f"nothing was sent; without --dry-run this goes to {done.url}")
    else:
        output.say(f"published {len(done.files)} files" if done.changed else "already published, nothing has changed")
        print(done.url)
