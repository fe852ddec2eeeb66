"""`dgm push`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import msgspec
import typer

from dgmcore import console as output
from dgmcore.cli.complete import model_names
from dgmcore.errors import UsageError

if TYPE_CHECKING:
    from .publish_all import Step

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: Annotated[
        str | None,
        typer.Argument(
            metavar="[NAME]", help="The model; a folder such as ./my-model too.", autocompletion=model_names
        ),
    ] = None,
    repo: Annotated[
        str | None, typer.Option("--repo", metavar="USER/REPO", help="The repository; made if need be.")
    ] = None,
    all_: Annotated[
        bool, typer.Option("--all", help="Every entry with weights of the registry, each as NAMESPACE/its name.")
    ] = False,
    namespace: Annotated[
        str | None, typer.Option("--namespace", metavar="ORG", help="With --all: the user or organisation.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="With --all: write repository and commit into each model.yaml.")
    ] = False,
    sign: Annotated[
        Path | None, typer.Option("--sign", metavar="KEY", help="Sign entries and weights with a private key, PEM.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the files and the card, send nothing.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was published, or would be, as JSON.")] = False,
) -> None:
    """Publish a model on the Hub, or all of the registry.

    Config, weights, model card, samples and licence go into one commit; the parts of a composed model come with it.
    With --all, a run that was interrupted goes on when it is repeated.
    """

    if all_:
        if name is not None or repo is not None or namespace is None:
            raise UsageError("--all publishes every entry under one namespace", "dgm push --all --namespace ORG")
        _all(namespace, record, dry_run, json, sign)
    elif name is None or repo is None or namespace is not None or record:
        raise UsageError("one model goes into one repository", "dgm push NAME --repo USER/REPO, or --all")
    else:
        _one(name, repo, dry_run, json, sign)


def _one(name: str, repo: str, dry_run: bool, json: bool, sign: Path | None) -> None:
    from .publish import push

    done = push(name, repo, dry_run=dry_run, sign=sign)
    if json:
        output.emit_json({**msgspec.to_builtins(done), "sent": not dry_run})
    elif dry_run:
        output.table(["file", "size"], [[p, output.size(n)] for p, n in done.files.items()], right=["size"])
        print()
        print(output.printable(done.card), end="")
        output.say(f"nothing was sent; without --dry-run this goes to {done.url}")
    else:
        output.say(f"published {len(done.files)} files" if done.changed else "already published, nothing has changed")
        print(done.url)


def _all(namespace: str, record: bool, dry_run: bool, json: bool, sign: Path | None) -> None:
    from .publish_all import publish_all

    steps: list[Step] = []
    for step in publish_all(namespace, record=record, dry_run=dry_run, sign=sign):
        steps.append(step)
        output.say(f"{step.place}/{step.total} {step.name}: {_done(step, dry_run)}")
    published = [s.pushed for s in steps if s.pushed is not None]
    counts = f"{len(published)} of {len(steps)} entries"
    if dry_run:
        output.say(f"nothing was sent; it would be {counts}")
    else:
        changed = sum(p.changed for p in published)
        output.say(f"{counts}, {changed} of them new or changed; {sum(s.recorded for s in steps)} recorded")
    if json:
        output.emit_json({"entries": msgspec.to_builtins(steps), "sent": not dry_run})
    else:
        print("\n".join(pushed.url for pushed in published))


def _done(step: Step, dry_run: bool) -> str:
    if step.pushed is None:
        return f"left alone, {step.why}"
    size = output.size(sum(step.pushed.files.values()))
    if dry_run:
        return f"{len(step.pushed.files)} files, {size}, would go to {step.pushed.url}"
    return f"published {len(step.pushed.files)} files, {size}" if step.pushed.changed else "already published"
