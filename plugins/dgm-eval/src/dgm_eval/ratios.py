"""The values of one entry divided by those of another, where they were measured in the same way."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dgmcore.entry import Entry, Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.records import compare

from .records import matching

__all__ = ["Ratio", "ratios", "require_records"]


class Ratio(NamedTuple):
    """A value divided by the other entry's, or why there is none."""

    value: float | None
    refusal: UsageError | None = None


def require_records(metrics: Iterable[str], other: Entry) -> None:
    """Refuses what can't be compared, whatever is measured.

    Raises:
        UsageError: If the other entry has no record of one of the metrics.
    """

    known = {record.name for record in other.metrics}
    for name in metrics:
        if name not in known:
            raise _without_record(name, other)


def ratios(records: Sequence[Metric], other: Entry, allow: Sequence[str] = ()) -> list[Ratio]:
    """Divides each value by the other entry's, if its record is of the same protocol but for what is allowed."""

    return [_ratio(mine, other, allow) for mine in records]


def _ratio(mine: Metric, other: Entry, allow: Sequence[str]) -> Ratio:
    theirs = matching(mine, other.metrics)
    if theirs is None:
        return Ratio(None, _without_record(mine.name, other))
    try:
        return Ratio(compare(mine, theirs, allow=allow))
    except UsageError as refusal:
        return Ratio(None, refusal)


def _without_record(name: str, other: Entry) -> UsageError:
    return UsageError(
        f"{other.name} has no record of {name}", f"make one: dgm eval {other.name} --metric {name} --record"
    )
