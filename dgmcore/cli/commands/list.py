"""`dgm list`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import typer

from ... import console as output
from ...calls.listing import Listed, list_models, listed
from ...plugins import current
from ...plugins.provided import call
from ...plugins.records import NOT_NAMED
from .. import complete

#: Columns that a narrow terminal has no room for, the first to go first.
DROPPED = ("shape", "params", "family", "data", "size")


def command(
    pattern: Annotated[
        str | None,
        typer.Argument(help="A part of the name, or a pattern: 'vae*'.", autocompletion=complete.model_names),
    ] = None,
    family: Annotated[
        str | None, typer.Option(help="Only this family, such as flows.", autocompletion=complete.families)
    ] = None,
    can: Annotated[
        str | None,
        typer.Option(help="Only models that can do this, such as density.", autocompletion=complete.capabilities),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="Only models of this data set.", autocompletion=complete.datasets)
    ] = None,
    architectures: Annotated[
        bool,
        typer.Option("--architectures", help="List what can be trained instead, as `dgm info ARCHITECTURE` shows."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models."""
    if architectures:
        call("list_architectures")(pattern, family, can, json)
    elif json:
        output.emit_json(list_models(pattern, family=family, can=can, dataset=dataset))
    else:
        _print(listed(pattern, family=family, can=can, dataset=dataset), pattern)
    for warning in _warnings():
        output.warn(warning)


def _nothing(pattern: str | None) -> str:
    """What to say where no model matches; a word may be that of an option."""
    for what, option, names in (
        ("family", "family", complete.families),
        ("capability", "can", complete.capabilities),
        ("data set", "dataset", complete.datasets),
    ):
        if pattern in names(""):
            return f"no model is called {pattern}, which is a {what}: dgm list --{option} {pattern}"
    if not current.index().rows:
        return "no models are installed: pip install dgm-weights, which has those of dgmcore"
    return "no model matches; `dgm list` shows all"


def _print(models: list[Listed], pattern: str | None) -> None:
    if not models:
        output.say(_nothing(pattern))
        return
    columns = ["name", "family", "data", "shape", "params", "size", "weights"]
    rows = [
        (
            m.name,
            m.family,
            m.dataset.rpartition("/")[2],
            "x".join(map(str, m.event_shape)),
            output.count(m.parameters),
            output.size(m.bytes),
            m.weights if m.plugin else "no plugin",
        )
        for m in models
    ]
    styles = [None if m.available else "dim" for m in models]
    output.table(columns, rows, right=["shape", "params", "size"], styles=styles, drop=DROPPED)


def _warnings() -> Iterator[str]:
    """Yields what is wrong with entries and plugins, since they may be missed in the list."""
    index = current.index()
    for bad in index.invalid:
        yield f"entry left out: {bad.what} ({bad.hint})"
    broken = [p.name for p in index.plugins if p.status in ("broken", "incompatible")]
    if broken:
        yield f"something is wrong with the plugin{'s' * (len(broken) > 1)} {', '.join(broken)}: `dgm plugins`"
    for plugin in index.plugins:
        if plugin.status == "blocked" and plugin.problems[0].what != NOT_NAMED:
            yield f"{plugin.problems[0].what}: `{plugin.problems[0].hint}`"
