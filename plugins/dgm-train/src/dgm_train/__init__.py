"""Training: recipes, the engine that runs their phases, `dgm train` and `dgmcore.train`."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [{"name": "train", "import": "dgm_train.command:app", "help": "Train a model by a recipe."}]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    return [
        {"name": "train", "import": "dgm_train.engine:train", "summary": "Train a model by a recipe"},
        {"name": "describe", "import": "dgm_train.describe:describe", "summary": "What an architecture can be told"},
        {"name": "recipe", "import": "dgm_train.recipe:Recipe", "summary": "What a recipe may say, as a type"},
    ]
