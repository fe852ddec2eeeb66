"""For authors of plugins: the conformance suite behind `dgmcore.testing`, `dgm new-plugin` and `dgm check-plugin`."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands():
    return [
        {"name": "new-plugin", "import": "dgm_authors.new_plugin:app", "help": "Start a plugin of your own."},
        {
            "name": "check-plugin",
            "import": "dgm_authors.check_plugin:app",
            "help": "Check a plugin's models against their promises.",
        },
    ]


@hookimpl
def dgm_calls():
    return [
        {"name": "check_model", "import": "dgm_authors.runner:check_model", "summary": "Check a model's promises"},
        {
            "name": "parametrize_with_checks",
            "import": "dgm_authors.runner:parametrize_with_checks",
            "summary": "Make the checks of models the cases of a test",
        },
        {"name": "summarize", "import": "dgm_authors.runner:summarize", "summary": "Count the outcomes of checks"},
    ]
