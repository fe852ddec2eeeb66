"""The index of plugins and entries."""

from __future__ import annotations

from functools import cache
from typing import Any

from . import discovery


class Index:
    def __init__(self, plugins: list[dict[str, Any]]):
        self.plugins = plugins

    def provided(self, kind: str) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for plugin in self.plugins:
            for name, record in plugin[kind].items():
                found.setdefault(name, {**record, "plugin": plugin["name"]})
        return found


@cache
def current() -> Index:
    return Index([discovery.describe(s, classes=False) for s in discovery.discover()])
