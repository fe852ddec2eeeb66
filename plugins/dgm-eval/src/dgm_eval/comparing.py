"""Metric records: what their protocols say, and whether they can be compared."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from dgmcore.entry import Metric
from dgmcore.errors import UsageError

__all__ = ["compare", "differences"]

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
