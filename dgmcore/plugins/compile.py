"""Compiles the index (:mod:`dgmcore.plugins.index`): loads plugins, reads registries, settles whose a name is."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable
from contextlib import suppress

import msgspec

from ..console import say
from ..entry import ENTRY_FILE, read_entry
from ..errors import DgmError, RegistryError
from ..files.folders import environment_registries, user_plugins, user_registry
from .imports import search_path, trust_record
from .index import Index, InvalidEntry, Row, file_state, merged
from .isolate import load
from .records import PluginRecord, Problem
from .sources import barred, discover

RACY = 20_000_000  # ns: a file that was written this shortly before it was read may change again unnoticed


def compile_index(previous: Index | None) -> Index:
    """Returns a new index; what is unchanged since a previous one is taken from there."""
    began, previous = time.time_ns(), previous or Index({}, [], [], [])
    looked_at = [str(user_plugins()), str(trust_record()), *search_path()]
    plugins = _plugins(previous)
    for plugin, problem in merged(plugins)[1]:
        plugin.clashes.append(problem)
    registries = [("environment", str(folder)) for folder in environment_registries()]
    registries += [("user", str(user_registry()))]
    registries += [(plugin.name, folder) for plugin in plugins for folder in plugin.provides.registries]
    texts = {row.path: row.text for row in previous.rows if _unchanged(row.path, previous)}
    rows, invalid = [], []
    for origin, folder in registries:  # in the order of their precedence
        looked_at.append(folder)
        for path in _entry_files(folder):
            looked_at.append(path)
            try:
                if text := texts.get(path) or _text(path):
                    rows.append(Row(os.path.basename(os.path.dirname(path)), origin, path, text))
            except DgmError as e:
                invalid.append(InvalidEntry(origin, path, e.what, e.hint))
    files = [file for plugin in plugins for file in plugin.files]
    states = {path: file_state(path) for path in [*looked_at, *files]}
    # what may have changed since it was read matches nothing, so it is read again
    states = {path: (-2, size) if time >= began - RACY else (time, size) for path, (time, size) in states.items()}
    return Index(states, plugins, _settled(rows, plugins), invalid)


def _plugins(previous: Index) -> list[PluginRecord]:
    """Returns a record of each plugin: the previous one if its files are unchanged, and those of the core."""
    sources = discover()
    records = {source: PluginRecord(source, problems=[why]) for source, why in barred(sources).items()}
    kept = {p.source: p for p in previous.plugins if p.files and all(_unchanged(file, previous) for file in p.files)}
    if sources[0] in kept:
        records = {s: msgspec.structs.replace(plugin, clashes=[]) for s, plugin in kept.items()} | records
    waiting = [source for source in sources if source not in records]
    if waiting and sys.stderr.isatty():
        say("reading plugins (after an install or an edit) ...")
    records |= {record.source: record for record in load(waiting)}
    return [records[source] for source in sources]


def _unchanged(file: str, previous: Index) -> bool:
    return file_state(file) == previous.states.get(file)


def _entry_files(folder: str) -> list[str]:
    """Returns where the entries of a registry are, or would be."""
    with suppress(OSError), os.scandir(folder) as items:
        names = sorted(i.name for i in items if not i.name.startswith(".") and i.is_dir())
        return [os.path.join(folder, name, ENTRY_FILE) for name in names]
    return []


def _text(path: str) -> msgspec.Raw | None:
    """Returns the text of an entry as JSON, if there is one."""
    if file_state(path)[0] == -1:
        return None
    entry, name = read_entry(path), os.path.basename(os.path.dirname(path))
    if entry.name != name:
        what = f"{path}: name: {entry.name} is not the name of its folder"
        raise RegistryError(what, f"rename one: the folder is {name}")
    return msgspec.Raw(msgspec.json.encode(entry))


def _settled(rows: Iterable[Row], plugins: list[PluginRecord]) -> list[Row]:
    """Settles which entry each bare name means (docs/registry.md), tells plugins of names that they repeat, and
    returns the entries by name."""
    owners = {plugin.name: plugin for plugin in reversed(plugins)}
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    for first, *others in groups.values():
        seen = {first.origin: first}
        if first.origin not in owners:  # the user's entries override those of plugins
            first.overrides = [row.full_name for row in others]
        for row in others:
            kept = first if first.origin == "core" else seen.setdefault(row.origin, row)
            row.hidden = first.origin not in owners or kept is not row
            if row.hidden and first.origin in owners:
                where = "the core's registry" if kept.origin == "core" else kept.path
                what = f"its entry {row.name} repeats a name of {where}"
                owners[row.origin].clashes.append(Problem(what, f"rename the folder and the entry {row.path}"))
        for row in seen.values():
            row.ambiguous = first.origin in owners and len(seen) > 1
    return [row for name in sorted(groups) for row in groups[name]]
