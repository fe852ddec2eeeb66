"""Metric records: comparing them, and writing them into an entry."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..entry import Metric
from ..errors import UsageError

if TYPE_CHECKING:
    from ..registry.find import Located

__all__ = ["compare", "differences", "merged", "record"]

#: What is measured, and what only says how it came to be.
_RESULTS = {"value", "std", "floor", "command"}


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
    """Adds records to a local entry's `model.yaml`."""

    import msgspec

    from ..entry import ENTRY_FILE, read_entry, write_entry

    if located.folder is None or located.origin == "hub":
        raise UsageError(
            f"{located.full_name} is no local entry", "record into an entry of your own, such as ./my-model"
        )
    path = Path(located.folder) / ENTRY_FILE
    entry = read_entry(path)
    changes: Mapping[str, Any] = {"metrics": merged(entry.metrics, new)}
    return write_entry(msgspec.structs.replace(entry, **changes), path)
