"""`dgm list`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from ... import console as output
from .. import complete


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
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List the models."""

    from ...plugins.index import current
    from ...registry.find import list_models

    models = list_models(pattern, family=family, can=can, dataset=dataset)
    if json:
        output.emit_json(models)
    elif models:
        _print(models)
    else:
        output.say(_nothing(pattern))
    for bad in current().invalid:
        output.warn(f"entry left out: {bad['what']} ({bad['hint']})")
    broken = [p["name"] for p in current().plugins if p["status"] in ("broken", "incompatible")]
    if broken:
        output.warn(f"something is wrong with the plugin{'s' * (len(broken) > 1)} {', '.join(broken)}: `dgm plugins`")


def _nothing(pattern: str | None) -> str:
    """What to say where no model matches; a word may be that of an option."""

    for what, option, names in (
        ("family", "family", complete.families),
        ("capability", "can", complete.capabilities),
        ("data set", "dataset", complete.datasets),
    ):
        if pattern in names(""):
            return f"no model is called {pattern}, which is a {what}: dgm list --{option} {pattern}"
    return "no model matches; `dgm list` shows all"


def _weights(model: dict[str, Any], lost: set[str]) -> str:
    if model["plugin"] is None:
        return "no plugin"
    return "here" if model["available"] else "missing" if model["name"] in lost else "to pull"


def _print(models: list[dict[str, Any]]) -> None:
    from ...plugins.index import current

    lost = {row["name"] for row in current().rows if row["file"] and not row["hub"]}
    columns = ["name", "family", "data", "shape", "params", "size", "weights"]
    rows = [
        (
            m["name"],
            m["family"],
            m["dataset"],
            "x".join(map(str, m["event_shape"])),
            output.count(m["parameters"]),
            output.size(m["bytes"]),
            _weights(m, lost),
        )
        for m in models
    ]
    styles = [None if m["available"] else "dim" for m in models]
    output.table(columns, rows, right=["shape", "params", "size"], styles=styles)
