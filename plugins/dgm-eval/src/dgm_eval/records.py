"""Metric records of entries: the nearest one, and writing new ones."""

from __future__ import annotations

import shutil
from collections.abc import Iterable
from pathlib import Path

import msgspec

from dgmcore.entry import ENTRY_FILE, Metric, read_entry, write_entry
from dgmcore.errors import UsageError
from dgmcore.files.atomic import replacing_folder
from dgmcore.files.folders import user_registry
from dgmcore.registry.find import Located
from dgmcore.sampling.settings import require_finite

from .comparing import differences

__all__ = ["matching", "merged", "record"]


def matching(mine: Metric, others: Iterable[Metric]) -> Metric | None:
    """Returns the record of the same metric whose protocol is nearest, or None."""

    same = [m for m in others if m.name == mine.name]
    return min(same, key=lambda m: len(differences(mine, m)), default=None)


def merged(old: Iterable[Metric], new: Iterable[Metric]) -> tuple[Metric, ...]:
    """Returns the old records and the new ones, which replace those of their own protocol."""

    kept = list(old)
    for record in new:
        place = next((i for i, m in enumerate(kept) if m.name == record.name and not differences(m, record)), None)
        if place is None:
            kept.append(record)
        else:
            kept[place] = record
    return tuple(kept)


def record(located: Located, new: Iterable[Metric]) -> Path:
    """Adds records to an entry's `model.yaml`.

    An entry that came with the core or a plugin is copied to the user's registry first, where it means the same by
    the same name: what is installed is left as it is.

    Raises:
        UsageError: If the entry is one of the Hub's, or the user has another of this name.
        DgmError: If a record is not finite, or the file can't be written.
    """

    new = list(new)
    for metric in new:
        for key in ("value", "floor", "std"):
            number = getattr(metric, key)
            require_finite(0.0 if number is None else number, f"the {key} of {metric.name}", "it is not recorded")
    source, folder = _folders(located)
    entry = read_entry(source)  # as it is now: others may have recorded since it was found
    with replacing_folder(folder, last=ENTRY_FILE) as stage:
        if folder != source:
            shutil.copytree(source, stage, dirs_exist_ok=True)
        write_entry(msgspec.structs.replace(entry, metrics=merged(entry.metrics, new)), stage)
    return folder / ENTRY_FILE


def _folders(located: Located) -> tuple[Path, Path]:
    """Returns an entry's folder, and the one that its records go to."""

    if located.folder is None or located.origin == "hub":
        raise UsageError(
            f"{located.full_name} is no local entry", "record into an entry of your own, such as ./my-model"
        )
    if located.origin in ("folder", "user", "environment"):
        return located.folder, located.folder
    folder = user_registry() / located.entry.name
    if (folder / ENTRY_FILE).exists():
        raise UsageError(
            f"you have an entry {located.entry.name} of your own", f"record into it: dgm eval {folder} --record"
        )
    return located.folder, folder
