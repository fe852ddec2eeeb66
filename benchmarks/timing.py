"""How two things are timed against each other: in turns, so that what disturbs the machine disturbs both; medians."""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median
from typing import Any

__all__ = ["compared", "interleaved"]


def interleaved(
    ours: Callable[[], object],
    theirs: Callable[[], object],
    repeats: int,
    *,
    warmup: int = 2,
    before: Callable[[], object] = lambda: None,
    clock: Callable[[], float] = time.perf_counter,
) -> tuple[float, float]:
    """Returns the median seconds of both.

    Arguments:
        ours: Ours.
        theirs: What it is compared with.
        repeats: How often each is timed.
        warmup: How often each runs first without being timed.
        before: Runs before each of them and is not timed.
        clock: Says the seconds; `time.thread_time` where milliseconds are compared on a machine that others use too.
    """

    times: tuple[list[float], list[float]] = ([], [])
    for i in range(warmup + repeats):
        for kept, call in zip(times, (ours, theirs), strict=True):
            before()
            start = clock()
            call()
            if i >= warmup:
                kept.append(clock() - start)
    return median(times[0]), median(times[1])


def compared(
    name: str,
    ours: Callable[[], object],
    theirs: Callable[[], object],
    note: str,
    repeats: int = 15,
    warmup: int = 2,
    clock: Callable[[], float] = time.perf_counter,
) -> dict[str, Any]:
    """Returns a row of the table of `run.py`, in milliseconds."""

    a, b = (1e3 * seconds for seconds in interleaved(ours, theirs, repeats, warmup=warmup, clock=clock))
    return {"name": name, "ours": a, "theirs": b, "unit": "ms", "ratio": a / b, "note": note}
