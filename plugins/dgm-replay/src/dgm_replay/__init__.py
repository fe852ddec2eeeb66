"""From a file back to how it was made: `dgm replay`, and `dgm info` of a file."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    return [
        {"name": "replay", "import": "dgm_replay.command:app", "help": "Draw a file again and compare bit by bit."},
    ]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    return [{"name": "describe_file", "import": "dgm_replay.describe:describe_file", "summary": "How a file was made"}]
