"""`dgm schema`: the JSON Schema of entries, of recipes, and of a model's config and options."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
import typer

from dgmcore import console, plugins
from dgmcore.entry import Entry
from dgmcore.registry import find

__all__ = ["app", "schema"]

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

DRAFT = "https://json-schema.org/draft/2020-12/schema"


def schema(subject: str) -> dict[str, Any]:
    """Returns a JSON Schema, draft 2020-12.

    Arguments:
        subject: `entry` for `model.yaml`, `recipe` for what `dgm train` takes, or a model: an object of its `config`,
            and of the options of `sampling` and `scoring`, with the entry's defaults.

    Raises:
        PluginError: For a recipe where nothing trains, or a model whose architecture no plugin provides.
        RegistryError: If there is no such model.
    """

    if subject == "entry":
        return {"$schema": DRAFT, "title": "model.yaml", **msgspec.json.schema(Entry)}
    if subject == "recipe":
        return {"$schema": DRAFT, "title": "recipe", **msgspec.json.schema(plugins.call("recipe"), schema_hook=_other)}
    entry = find(subject).entry
    kind = plugins.architecture(entry.architecture)
    types = {"config": kind.Config, "sampling": kind.Sampling, "scoring": kind.Scoring}
    references, definitions = msgspec.json.schema_components(
        list(types.values()), schema_hook=_other, ref_template="#/$defs/{name}"
    )
    properties = {name: dict(ref) for name, ref in zip(types, references, strict=True)}
    properties["config"]["default"] = entry.config
    properties["sampling"]["default"] = entry.sampling
    return {
        "$schema": DRAFT,
        "title": entry.name,
        "type": "object",
        "properties": properties,
        "additionalProperties": False,
        "$defs": definitions,
    }


def _other(kind: type) -> dict[str, Any]:
    """What JSON can't say, such as a tensor, is given in Python only."""

    return {"description": f"a {kind.__name__}, in Python only", "not": {}}


@app.command()
def command(
    subject: Annotated[str, typer.Argument(help="entry, recipe, or a model.")],
    json: Annotated[bool, typer.Option("--json", help="As it is: the schema is JSON.")] = False,
) -> None:
    """Print the JSON Schema of entries, of recipes, or of a model's config and options.

    Editors check YAML by it: `dgm schema recipe > recipe.schema.json`.
    """

    console.emit_json(schema(subject))
