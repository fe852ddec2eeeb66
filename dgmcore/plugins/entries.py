"""Reads registries and settles which entry a name means (design: registry entries)."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING, Any

from ..errors import DgmError
from .describe import Record, fail
from .index import Index, State, file_state

if TYPE_CHECKING:
    from ..entry import Entry, PartSpec

__all__ = ["Catalog", "count_parameters", "part_names", "row_of"]

Row = dict[str, Any]


class Catalog:
    """The entries of all registries, in the order of their precedence.

    Attributes:
        files: The states of what was read, or would have been.
    """

    def __init__(self, previous: Index | None):
        self.files: list[State] = []
        self._rows: list[tuple[int, Record | None, Row, str]] = []
        self._invalid: list[dict[str, Any]] = []
        self._previous = previous
        self._known = {row["path"]: row for row in previous.rows} if previous else {}
        self._states = {state[0]: state for state in previous.head["files"]} if previous else {}

    def add(self, origin: str, folder: str | os.PathLike[str], *, rank: int, plugin: Record | None = None) -> None:
        """Reads the registry `folder`; of two entries of one name the lower rank wins."""

        folder = os.fspath(folder)
        self.files.append(file_state(folder))
        try:
            with os.scandir(folder) as items:
                names = sorted(i.name for i in items if not i.name.startswith(".") and i.is_dir())
        except OSError:
            return
        for name in names:
            path = os.path.join(folder, name, "model.yaml")
            state = file_state(path)
            self.files.append(state)
            if state[1] == -1:
                continue
            try:
                row, text = self._row(path, state)
            except DgmError as e:
                self._invalid.append({"path": path, "origin": origin, "what": e.what, "hint": e.hint})
                continue
            row.update(origin=origin, full_name=f"{origin}/{name}", hidden=False, ambiguous=False, overrides=[])
            self._rows.append((rank, plugin, row, text))

    def _row(self, path: str, state: State) -> tuple[Row, str]:
        """Returns the row of an entry and its text; those of the previous index if the file is unchanged."""

        weights_state: State | None = None
        row = self._known.get(path)
        if row is not None and self._states.get(path) == state:
            assert self._previous is not None
            text = json.dumps(self._previous.entry(row), separators=(",", ":"))
            row = dict(row)
        else:
            from ..entry import read_entry

            entry = read_entry(path)
            folder = os.path.dirname(path)
            if entry.name != os.path.basename(folder):
                what = f"{path}: name: {entry.name} is not the name of its folder"
                raise DgmError(what, f"rename one: the folder is {os.path.basename(folder)}")
            row, text = row_of(entry, path), _text(entry)
        if row["counted"]:
            weights_state = file_state(os.path.join(row["folder"], row["file"]))
            self.files.append(weights_state)
            if self._states.get(weights_state[0]) != weights_state or row["parameters"] is None:
                row["parameters"] = count_parameters(weights_state[0])
        return row, text

    def compiled(self, plugins: list[Record]) -> tuple[list[Row], bytes, list[dict[str, Any]]]:
        """Returns the rows by name, the entries one a line, and the invalid entries."""

        groups: dict[str, list[tuple[int, Record | None, Row, str]]] = {}
        for item in self._rows:
            groups.setdefault(item[2]["name"], []).append(item)
        for group in groups.values():
            _settle(sorted(group, key=lambda item: item[0]))
        architectures = {
            name: (record, plugin["name"]) for plugin in plugins for name, record in plugin["architectures"].items()
        }
        rows, lines = [], []
        for name in sorted(groups):
            for _, _, row, text in groups[name]:
                record, owner = architectures.get(row["architecture"], ({}, None))
                row.update(
                    family=record.get("family"),
                    capabilities=record.get("capabilities", []),
                    likelihood=record.get("likelihood"),
                    plugin=owner,
                    line=len(lines),
                )
                rows.append(row)
                lines.append(text.encode())
        return rows, b"\n".join(lines), self._invalid


def _settle(group: list[tuple[int, Record | None, Row, str]]) -> None:
    """Settles which of the entries of one name the short name means."""

    (_, plugin, first, _), rest = group[0], group[1:]
    if plugin is None or plugin["kind"] == "builtin":  # the user's entries override, the core's can't be
        for _, other, row, _ in rest:
            row["hidden"] = True
            if plugin is None:
                first["overrides"].append(row["full_name"])
            elif other is not None:
                _repeated(other, row, "the core's registry")
        return
    seen: dict[str, Row] = {}
    for _, other, row, _ in group:
        assert other is not None
        if other["name"] in seen:
            row["hidden"] = True
            _repeated(other, row, seen[other["name"]]["path"])
        seen.setdefault(other["name"], row)
    for row in seen.values():
        row["ambiguous"] = len(seen) > 1


def _repeated(plugin: Record, row: Row, where: str) -> None:
    fail(plugin, f"its entry {row['name']} repeats a name of {where}", f"rename the folder and the entry {row['path']}")


def row_of(entry: Entry, path: str) -> Row:
    """Returns what listing needs of an entry."""

    weights = entry.weights
    return {
        "name": entry.name,
        "path": path,
        "folder": os.path.dirname(path),
        "architecture": entry.architecture,
        "dataset": entry.data.dataset,
        "event_shape": list(entry.data.event_shape),
        "parameters": weights.parameters if weights else 0,
        "counted": weights is not None and weights.parameters is None,
        "bytes": weights.size if weights else None,
        "file": weights.file if weights else None,
        "hub": [weights.hub.repo, weights.hub.revision, weights.hub.file] if weights and weights.hub else None,
        "parts": part_names(entry.parts),
        "license": entry.license,
        "summary": entry.summary,
    }


def _text(entry: Entry) -> str:
    from ..config import to_dict

    return json.dumps(to_dict(entry), separators=(",", ":"))


def part_names(parts: dict[str, str | PartSpec]) -> list[str]:
    """Returns the names of the entries that an entry is composed of, at any depth."""

    names = []
    for part in parts.values():
        names += [part] if isinstance(part, str) else part_names(part.parts)
    return names


def count_parameters(path: str | os.PathLike[str]) -> int | None:
    """Counts the numbers of floating point in a safetensors file by its header; None if it can't be read."""

    import math

    from ..errors import WeightsError
    from ..files.safetensors import read_header

    try:
        return sum(math.prod(info.shape) for info in read_header(path).values() if "F" in info.dtype)
    except WeightsError:
        return None
