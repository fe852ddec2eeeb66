"""A page of models: the server `dgm serve`, its HTTP API, and pages without a server, `dgm page`."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [
        {"name": "serve", "import": "dgm_serve.command:app", "help": "Open a page on which models can be played with."},
        {"name": "page", "import": "dgm_serve.page_command:app", "help": "Write a page of one model without a server."},
    ]
