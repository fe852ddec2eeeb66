"""Training: recipes, the engine that runs their phases, `dgm train` and `dgmcore.train`."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [
        {"name": "train", "import": "dgm_train.command:app", "help": "Train a model by a recipe."},
        {
            "name": "finetune",
            "import": "dgm_train.command:finetune_app",
            "help": "Go on training a model, on your own data.",
        },
    ]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    return [
        {"name": "train", "import": "dgm_train.engine:train", "summary": "Train a model by a recipe"},
        {
            "name": "describe_architecture",
            "import": "dgm_train.describe:describe_architecture",
            "summary": "Print what an architecture can be told",
        },
        {
            "name": "list_architectures",
            "import": "dgm_train.describe:list_architectures",
            "summary": "Print what can be trained",
        },
        {
            "name": "place_of_process",
            "import": "dgm_train.parallel.group:place",
            "summary": "Which process this is",
        },
        {
            "name": "join_processes",
            "import": "dgm_train.parallel.group:join_processes",
            "summary": "Processes meet",
        },
        {"name": "agree", "import": "dgm_train.parallel.group:agree", "summary": "What all processes say"},
        {
            "name": "pour_together",
            "import": "dgm_train.parallel.shares:pour_together",
            "summary": "One file of all processes",
        },
        {"name": "recipe", "import": "dgm_train.recipe:Recipe", "summary": "What a recipe may say, as a type"},
    ]
