"""The values of one entry divided by those of another, where they were measured in the same way."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from dgmcore.entry import Metric
from dgmcore.errors import UsageError

from .comparing import compare
from .records import matching

__all__ = ["Other", "Ratio", "ratios", "require_records", "verdict"]

#: Metrics of which more is better; of all others that we know, less is.
_HIGHER = {"precision", "recall", "density", "coverage", "prd-precision", "prd-recall", "inception-score", "modes"}
_HIGHER |= {"within-3-sigma", "ood-auroc", "accuracy", "classical-fidelity", "label-agreement", "ess"}
_LOWER = {"fid", "kid", "fid-infinity", "fid-per-class", "energy-distance", "mmd", "sliced-wasserstein", "c2st"}
_LOWER |= {"memorisation", "mode-kl", "nll", "bits-per-dim", "reconstruction", "kl-exact", "r-hat"}


class Other(NamedTuple):
    """What a value is compared with: an entry and its records, or samples and what was measured of them."""

    name: str
    metrics: Sequence[Metric]


class Ratio(NamedTuple):
    """A value divided by the other's, and which is better; or why there is neither."""

    value: float | None
    refusal: UsageError | None = None
    verdict: str | None = None


def verdict(mine: Metric, theirs: Metric) -> str:
    """Says whether a value is better or worse than another of the same protocol, as far as their intervals tell.

    The half widths of both intervals are taken together as those of independent values. Values that were measured on
    the same real data have less between them, so it errs on the side of `cannot be told`.

    Example:
        >>> a = Metric(name="fid", value=3.0, interval=(2.9, 3.1))
        >>> verdict(a, Metric(name="fid", value=4.0, interval=(3.8, 4.2)))
        'better'
        >>> verdict(a, Metric(name="fid", value=3.2, interval=(3.0, 3.4)))
        'cannot be told'
    """

    if mine.interval is None or theirs.interval is None or mine.name not in _HIGHER | _LOWER:
        return "cannot be told"
    halves = [(m.interval[1] - m.interval[0]) / 2 for m in (mine, theirs) if m.interval is not None]
    gap = mine.value - theirs.value
    if abs(gap) <= math.hypot(*halves):
        return "cannot be told"
    return "better" if (gap > 0) == (mine.name in _HIGHER) else "worse"


def require_records(metrics: Iterable[str], other: Other) -> None:
    """Refuses what can't be compared, whatever is measured.

    Raises:
        UsageError: If the other entry has no record of one of the metrics.
    """

    known = {record.name for record in other.metrics}
    for name in metrics:
        if name not in known:
            raise _without_record(name, other)


def ratios(records: Sequence[Metric], other: Other, allow: Sequence[str] = ()) -> list[Ratio]:
    """Divides each value by the other entry's, if its record is of the same protocol but for what is allowed."""

    return [_ratio(mine, other, allow) for mine in records]


def _ratio(mine: Metric, other: Other, allow: Sequence[str]) -> Ratio:
    theirs = matching(mine, other.metrics)
    if theirs is None:
        return Ratio(None, _without_record(mine.name, other))
    try:
        return Ratio(compare(mine, theirs, allow=allow), verdict=verdict(mine, theirs))
    except UsageError as refusal:
        return Ratio(None, refusal)


def _without_record(name: str, other: Other) -> UsageError:
    return UsageError(
        f"{other.name} has no record of {name}", f"make one: dgm eval {other.name} --metric {name} --record"
    )
