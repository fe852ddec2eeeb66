"""The models that the page shows: those of `dgm list`, by the names that it gives them, and no folder of anybody's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec

import dgmcore
from dgmcore.calls.listing import info, listed
from dgmcore.config import default_of
from dgmcore.console import size
from dgmcore.errors import DgmError
from dgmcore.plugins.provided import architecture, provided
from dgmcore.suggestions import did_you_mean

from .shown.about import facts

__all__ = ["Catalog", "Unknown", "calls", "option_schema"]


class Unknown(DgmError):
    """There is no model of that name here."""


class Catalog:
    """The models whose names fit a pattern, as `dgm list PATTERN` finds them."""

    def __init__(self, pattern: str | None = None):
        self.pattern = pattern
        self.names = [model.name for model in listed(pattern)]
        self._about = {name: self._row(info(name)) for name in self.names}  # which no pull changes

    def check(self, name: str) -> str:
        """Returns the name of a model that the page shows.

        Raises:
            Unknown: If there is none of that name.
        """

        if name not in self.names:
            raise Unknown(f"there is no model {name:.100}", did_you_mean(name[:100], self.names))
        return name

    def models(self, **filters: str | None) -> list[dict[str, Any]]:
        """Returns what `dgm list --json` says of each, and its summary, its licence and whether it has a picture."""

        found = listed(self.pattern, **filters)
        return [msgspec.to_builtins(model) | self._about[model.name] for model in found if model.name in self._about]

    def _row(self, entry: dict[str, Any]) -> dict[str, Any]:
        row = {key: entry[key] for key in ("summary", "license", "tags", "likelihood", "origin")}
        words = [entry[key] or "" for key in ("name", "summary", "family", "dataset")]
        if {"pushforward", "critic"} & set(entry["capabilities"]):
            words.append("tilt")  # which people look for, and is no capability's name
        row["words"] = " ".join([*words, *entry["tags"], *entry["capabilities"]]).lower()  # for the page's search
        return row | {
            "picture": self._picture(entry) is not None,
            "facts": facts(entry, brief=True),
            "size": size(entry["bytes"]),
        }

    def model(self, name: str) -> dict[str, Any]:
        """Returns what `dgm info --json` says, with a JSON Schema of the options and the phases of training."""

        entry = info(self.check(name))
        record = provided().architectures.get(entry["architecture"])
        if record is None:
            return {**entry, "options_schema": {}, "scoring_schema": {}, "phases": [], "picture": False}
        kind = architecture(entry["architecture"])
        return {
            **entry,
            "options_schema": option_schema(kind.Sampling, entry["sampling"]),
            "scoring_schema": option_schema(kind.Scoring),
            "phases": list(kind.phases),
            "picture": self._picture(entry) is not None,
        }

    def picture(self, name: str) -> Path | None:
        """Returns the file of an entry's picture of samples, if it has one."""

        return self._picture(info(self.check(name)))

    def _picture(self, entry: dict[str, Any]) -> Path | None:
        path = Path(entry["folder"]) / "samples.png"
        return path if path.is_file() else None


def calls() -> set[str]:
    """Returns the calls of the core that plugins answer here, such as `train`."""
    return {name for name in provided().calls if hasattr(dgmcore, name)}


def option_schema(options: Any, defaults: dict[str, Any] | None = None) -> dict[str, Any]:
    """Returns the JSON Schema of a struct of options, with the defaults of an entry."""

    properties: dict[str, Any] = {}
    for field in msgspec.structs.fields(options):
        try:
            schema = msgspec.json.schema(field.type)
        except TypeError:  # a tensor, which JSON can't say
            continue
        default = (defaults or {}).get(field.encode_name, default_of(field))
        properties[field.encode_name] = {**schema, "default": msgspec.to_builtins(default)}
    return {"type": "object", "properties": properties, "additionalProperties": False}
