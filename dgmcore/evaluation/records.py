"""Metric records: comparing them, and writing them into an entry."""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ..entry import ENTRY_FILE, Metric, read_entry, write_entry
from ..errors import UsageError, require_finite
from ..files.atomic import replacing_folder
from ..files.folders import user_registry

if TYPE_CHECKING:
    from ..registry.find import Located

__all__ = ["compare", "differences", "merged", "record"]

#: What is measured, and what only says how it came to be.
_RESULTS = {"value", "std", "interval", "floor", "command"}


def differences(a: Metric, b: Metric) -> dict[str, tuple[Any, Any]]:
    """Returns the parts of the protocol in which two records differ, with both values.

    Of the sampler's settings those count that both models have: the number of Langevin steps of one
    model says nothing about another that has none.

    Example:
        >>> a = Metric(name="fid", value=3.0, n=1000, sampling={"temperature": 1.0})
        >>> b = Metric(name="fid", value=2.0, n=5000, sampling={"temperature": 1.0, "steps": 60})
        >>> differences(a, b)
        {'n': (1000, 5000)}
    """

    found: dict[str, tuple[Any, Any]] = {}
    for key in Metric.__struct_fields__:
        x, y = getattr(a, key), getattr(b, key)
        if key == "sampling":
            found |= {f"sampling.{k}": (x[k], y[k]) for k in x if k in y and x[k] != y[k]}
        elif key not in _RESULTS and x != y:
            found[key] = (x, y)
    return found


def compare(a: Metric, b: Metric, *, allow: Collection[str] = ()) -> float:
    """Returns the ratio of two records' values.

    Arguments:
        allow: Parts of the protocol that may differ (`weights`, `sampling.temperature`, ...).

    Raises:
        UsageError: If the protocols differ otherwise: the values can't be compared.
    """

    wrong = {k: v for k, v in differences(a, b).items() if k not in allow and k.partition(".")[0] not in allow}
    if wrong:
        what = ", ".join(f"{k} {x!r} against {y!r}" for k, (x, y) in wrong.items())
        raise UsageError(
            f"these records of {a.name} can't be compared, their protocols differ: {what}",
            "measure both in the same way, or accept the difference with --allow " + " --allow ".join(wrong),
        )
    if b.value == 0:
        raise UsageError(f"the other {b.name} is zero, so there is no ratio", "compare the values")
    return a.value / b.value


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
    """Adds records to an entry's `model.yaml`, which is read back before it replaces the old one.

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
        read_entry(stage)
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
