"""Publishing: model cards, one commit on the Hub, signatures, `dgm push` and `dgmcore.push`."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands():
    return [{"name": "push", "import": "dgm_publish.command:app", "help": "Publish a model on the Hub."}]


@hookimpl
def dgm_calls():
    return [
        {"name": "push", "import": "dgm_publish.publish:push", "summary": "Publish a model on the Hub"},
        {
            "name": "pull_signed",
            "import": "dgm_publish.signature:pull_signed",
            "summary": "Fetch a model whose signature is checked",
        },
    ]
