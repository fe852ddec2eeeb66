"""From a file back to how it was made, and the life of entries: `dgm replay`, `verify`, `rm`, `cache`, `schema`."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [
        {"name": "replay", "import": "dgm_replay.command:app", "help": "Draw a file again and compare bit by bit."},
        {"name": "verify", "import": "dgm_replay.verify:app", "help": "Hash weights and compare them with entries."},
        {"name": "rm", "import": "dgm_replay.remove:app", "help": "Remove an entry, or fetched weights."},
        {"name": "cache", "import": "dgm_replay.cache:app", "help": "Show what takes how much on this machine."},
        {"name": "schema", "import": "dgm_replay.schema:app", "help": "The JSON Schema of entries, recipes, options."},
    ]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    return [
        {"name": "describe_file", "import": "dgm_replay.describe:describe_file", "summary": "How a file was made"},
        {"name": "record", "import": "dgm_replay.record:record", "summary": "What a file says of how it was made"},
        {"name": "digest", "import": "dgm_replay.record:digest", "summary": "The sha256 of tensors"},
        {"name": "requirements", "import": "dgm_replay.requirements:requirements", "summary": "The plugins, for pip"},
    ]
