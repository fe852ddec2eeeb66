"""Entries: read, write, find and list them (design: registry entries)."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..entry import ENTRY_FILE, Entry, read_entry
from ..errors import DgmError, RegistryError, UsageError
from ..hub import trust_on_first_use
from ..hub.cache import commit_of, hub_cache
from ..hub.entries import fetch_entry
from ..plugins.index import Index, current
from ..suggestions import did_you_mean

__all__ = [
    "Located",
    "available",
    "find",
    "info",
    "list_models",
    "weights_path",
]


@dataclass(frozen=True)
class Located:
    """An entry and where it was found.

    Attributes:
        entry: The entry.
        folder: The folder it is in; weights are looked for here first.
        origin: `core`, a plugin's name, `user`, `environment`, `folder` or `hub`.
        full_name: The name that no other entry has: `origin/name`, or the folder or repository.
        overrides: The full names of entries that this one hides.
    """

    entry: Entry
    folder: Path | None
    origin: str
    full_name: str
    overrides: list[str] = field(default_factory=list)


def find(name: str | os.PathLike[str]) -> Located:
    """Finds an entry by name, by `plugin/name`, by folder (`./my-model`) or on the Hub (`hf://user/repo@revision`).

    Raises:
        RegistryError: If there is none (with the nearest three names), several, or an invalid one.
    """

    name = os.fspath(name)
    if name.startswith("hf://"):
        return _on_hub(name)
    if _is_path(name):
        return _in_folder(name)
    index = current()
    try:
        row = _row(index, name)
    except RegistryError:
        if "/" in name and os.path.isfile(os.path.join(name, ENTRY_FILE)):
            return _in_folder(name)
        raise
    from ..config import parse
    from ..entry import Entry

    entry = parse(Entry, index.entry(row), source=row["path"])
    return Located(entry, Path(row["folder"]), row["origin"], row["full_name"], list(row["overrides"]))


def _row(index: Index, name: str) -> dict[str, Any]:
    """Returns the row that a name means."""

    origin, _, short = name.rpartition("/")
    rows = [row for row in index.named(short) if not origin or row["origin"] == origin]
    if origin and rows:
        return rows[0]
    visible = [row for row in rows if not row["hidden"]]
    if len(visible) == 1:
        return visible[0]
    if visible:
        candidates = " or ".join(row["full_name"] for row in visible)
        raise RegistryError(f"{name} is the name of {len(visible)} models", f"say which: {candidates}")
    for bad in index.invalid:
        if os.path.basename(os.path.dirname(bad["path"])) == short and origin in ("", bad["origin"]):
            raise RegistryError(bad["what"], bad["hint"])
    known = {row["full_name"] if row["ambiguous"] or origin else row["name"] for row in index.rows}
    raise RegistryError(f"there is no model {name}", did_you_mean(name, known, "see `dgm list`"))


def _on_hub(name: str) -> Located:
    repo, _, revision = name.removeprefix("hf://").partition("@")
    if repo.count("/") != 1 or not all(repo.split("/")):
        raise UsageError(f"{name} names no Hub repository", "write hf://USER/REPO or hf://USER/REPO@REVISION")
    folder = fetch_entry(repo, revision or None)
    return Located(read_entry(folder), folder, "hub", name)


def _is_path(name: str) -> bool:
    return name.startswith((".", "~")) or os.path.isabs(name) or name.endswith(("/", os.sep, ".yaml"))


def _in_folder(name: str) -> Located:
    folder = Path("" if "\0" in name else os.path.expanduser(name)).absolute()
    if folder.name == ENTRY_FILE:
        folder = folder.parent
    if "\0" in name or not os.path.isfile(folder / ENTRY_FILE):
        what = f"{name} holds no {ENTRY_FILE}" if os.path.isdir(folder) else f"there is no folder {name}"
        raise RegistryError(what, "name a folder that `dgm train` or `dgm convert` wrote, or a model of `dgm list`")
    return Located(read_entry(folder), folder, "folder", str(folder))


def list_models(
    pattern: str | None = None, *, family: str | None = None, can: str | None = None, dataset: str | None = None
) -> list[dict[str, Any]]:
    """Returns a record of each model, by name.

    Arguments:
        pattern: A part of the name, or a pattern with the wildcards `*`, `?` and `[...]` for all of it.
        family: Only models of a family, such as `flows`.
        can: Only models with a capability, such as `density`.
        dataset: Only models of a data set.

    Returns:
        Records with the keys `name, family, architecture, dataset, event_shape, capabilities, parameters, bytes,
        available, plugin`. `available` says whether all weights are on this machine; `plugin` is the plugin that
        provides the architecture (None: none does).

    Raises:
        UsageError: For a family, capability or data set that nothing has.
    """

    from fnmatch import fnmatchcase

    index = current()
    rows = [row for row in index.rows if not row["hidden"]]
    _check_filters(index, rows, family, can, dataset)
    if pattern is not None and not any(c in pattern for c in "*?["):
        pattern = f"*{pattern}*"
    return [
        {
            "name": name,
            "family": row["family"],
            "architecture": row["architecture"],
            "dataset": row["dataset"],
            "event_shape": row["event_shape"],
            "capabilities": row["capabilities"],
            "parameters": row["parameters"],
            "bytes": _bytes(row),
            "available": available(row, index),
            "plugin": row["plugin"],
        }
        for row in rows
        if (family is None or row["family"] == family)
        and (can is None or can in row["capabilities"])
        and (dataset is None or row["dataset"] == dataset)
        and (name := row["full_name"] if row["ambiguous"] else row["name"])
        and (pattern is None or fnmatchcase(name, pattern) or fnmatchcase(row["name"], pattern))
    ]


def _check_filters(
    index: Index, rows: list[dict[str, Any]], family: str | None, can: str | None, dataset: str | None
) -> None:
    """Raises for a filter that nothing could pass, which is a typing error."""

    families = {record["family"] for record in index.provided("architectures").values()}
    known = {row["dataset"] for row in rows} | set(index.provided("datasets"))
    capabilities = {c for record in index.provided("architectures").values() for c in record.get("capabilities", [])}
    if can is not None and can not in capabilities:
        from ..interfaces import CAPABILITIES

        capabilities |= set(CAPABILITIES)
    for what, value, choices in (
        ("family", family, families),
        ("capability", can, capabilities),
        ("data set", dataset, known),
    ):
        if value is not None and value not in choices:
            raise UsageError(f"there is no {what} {value}", did_you_mean(value, choices))


def info(name: str | os.PathLike[str]) -> dict[str, Any]:
    """Returns everything known about a model, as plain data.

    The keys are those of the entry and of :func:`list_models`, and `origin`, `full_name`, `folder`, `overrides`,
    `likelihood`, `options` (what `--set` may set, with the defaults of this entry) and `paper`.
    """

    index = current()
    try:
        row = _row(index, os.fspath(name))
        entry = index.entry(row)
    except RegistryError:
        from ..config import to_dict
        from ..plugins import entries as catalog

        located = find(name)
        row, entry = catalog.row_of(located.entry, str((located.folder or Path()) / ENTRY_FILE)), to_dict(located.entry)
        row.update(full_name=located.full_name, origin=located.origin, overrides=[])
    architecture = index.provided("architectures").get(entry["architecture"], {})
    options = {k: dict(v) for k, v in architecture.get("sampling", {}).items()}
    for key, value in entry["sampling"].items():
        options[key] = {**options.get(key, {"type": "any"}), "default": value}
    return {
        **entry,
        "full_name": row["full_name"],
        "origin": row["origin"],
        "folder": row["folder"],
        "overrides": row["overrides"],
        "family": architecture.get("family"),
        "plugin": architecture.get("plugin"),
        "dataset": entry["data"]["dataset"],
        "event_shape": list(entry["data"]["event_shape"]),
        "capabilities": architecture.get("capabilities", []),
        "likelihood": architecture.get("likelihood"),
        "parameters": row["parameters"],
        "bytes": _bytes(row),
        "available": available(row, index),
        "options": options,
        "paper": architecture.get("paper"),
    }


# --- weights that are there -------------------------------------------------------------------------


def available(row: dict[str, Any], index: Index, _seen: frozenset[str] = frozenset()) -> bool:
    """Tells whether the weights of a model and of its parts are on this machine, without reading them."""

    if row["file"] is not None and not weights_path(row):
        return False
    for part in row["parts"]:
        rows = [r for r in index.named(part.rpartition("/")[2]) if part in (r["name"], r["full_name"])]
        if part in _seen or not rows or not available(rows[0], index, _seen | {part}):
            return False
    return True


def _bytes(row: dict[str, Any]) -> int | None:
    """Returns the size of the weights file: what the entry says, else that of the file."""

    if row["file"] is None:
        return 0
    if row["bytes"] is not None:
        return row["bytes"]
    path = weights_path(row)
    return os.stat(path).st_size if path else None


def weights_path(row: dict[str, Any]) -> str | None:
    """Returns the weights file beside an entry, or that in the Hugging Face cache."""

    beside = os.path.join(row["folder"], row["file"])
    if os.path.isfile(beside):
        return beside
    if row["hub"] is None:
        return None
    repo, revision, file = row["hub"]
    folder = os.path.join(hub_cache(), f"models--{repo.replace('/', '--')}")
    for commit in (revision, commit_of(folder, revision or "main"), _pinned(folder, *row["hub"])):
        if commit and os.path.isfile(path := os.path.join(folder, "snapshots", commit, file)):
            return path
    return None


def _pinned(folder: str, repo: str, revision: str | None, file: str) -> str | None:
    """Returns the commit that was recorded when a file without a stated sha256 was first fetched."""

    if not os.path.isdir(folder):
        return None
    try:
        pin = trust_on_first_use.find(repo, file, revision)
    except DgmError:
        return None
    return pin.commit if pin else None
