"""Odd values for numbers, and what must come of them: two lines of error, or finite numbers soon."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
from msgspec import inspect
from torch import Tensor

from dgmcore.errors import DgmError

__all__ = ["HUGE", "SECONDS", "TooLong", "deadline", "odd_values", "refused_or_finite", "unbounded"]

#: More than anything can have: steps that never end, a tensor that fits nowhere.
HUGE = 10**12
_HUGE_REAL = 1e30
#: How long a model of the size of an example may take.
SECONDS = 20.0


class TooLong(BaseException):
    """The deadline has passed; no `except Exception` of what is tried keeps it."""


@contextmanager
def deadline(seconds: float) -> Iterator[None]:
    """Within it :class:`TooLong` is raised after `seconds`, where the system has timers and this is the main thread."""

    if not hasattr(signal, "setitimer") or threading.current_thread() is not threading.main_thread():
        yield
        return

    def stop(*_: Any) -> None:
        raise TooLong

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def odd_values(options: msgspec.Struct) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yields changes of options, each with one number set to 0, -1, something huge, or NaN.

    Arguments:
        options: The options to start from; an option that is None may be a number too, and is tried as one.

    Returns:
        What was changed, as `schedule.steps=0`, and the changed top-level option as plain data.
    """

    plain = msgspec.to_builtins(options)
    for key, value in plain.items():
        for path, changed in _changes(value):
            yield f"{key}{path}", {key: changed}


def _changes(value: Any) -> Iterator[tuple[str, Any]]:
    """Yields copies of plain data with one number changed, each with the way there."""

    if isinstance(value, dict):
        for key, inner in value.items():
            yield from ((f".{key}{path}", {**value, key: changed}) for path, changed in _changes(inner))
    elif isinstance(value, list | tuple):
        for i, inner in enumerate(value):
            yield from ((f"[{i}]{path}", [*value[:i], c, *value[i + 1 :]]) for path, c in _changes(inner))
    elif value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        huge: list[float] = [_HUGE_REAL] if isinstance(value, float) else [HUGE]
        for odd in (0, -1, *huge, math.nan):
            yield f"={odd}", odd


def refused_or_finite(what: str, action: Callable[[], Iterator[Tensor]]) -> None:
    """Asserts that an action ends soon, with a :class:`~dgmcore.DgmError` or with finite tensors only."""

    try:
        with deadline(SECONDS):
            finite = all(bool(value.isfinite().all()) for value in action())
    except DgmError:
        return
    except TooLong:
        raise AssertionError(
            f"{what}: not done after {SECONDS:g} s: give the option a bound, Annotated[int, msgspec.Meta(le=...)]"
        ) from None
    except Exception as e:
        raise AssertionError(f"{what}: {type(e).__name__}: {e}; refuse it with a DgmError, or bound it") from e
    assert finite, f"{what}: the result is not finite, and nobody says so"


def unbounded(kind: type[msgspec.Struct]) -> list[str]:
    """Returns the numbers of a struct, and of structs in it, that lack a bound below or above, as `schedule.steps`.

    Without one nobody says what a temperature of -1 is, and a model draws it all the same.
    """

    found = inspect.type_info(kind)
    return [path for field in getattr(found, "fields", ()) for path in _open(field.type, field.encode_name)]


def _open(kind: inspect.Type, path: str) -> Iterator[str]:
    match kind:
        case inspect.IntType() | inspect.FloatType():
            if (kind.ge is None and kind.gt is None) or (kind.le is None and kind.lt is None):
                yield path
        case inspect.UnionType(types=several) | inspect.TupleType(item_types=several):
            yield from (found for inner in several for found in _open(inner, path))
        case inspect.VarTupleType(item_type=inner) | inspect.ListType(item_type=inner):
            yield from _open(inner, path)
        case inspect.DictType(value_type=inner):
            yield from _open(inner, path)
        case inspect.StructType(fields=fields):
            yield from (found for field in fields for found in _open(field.type, f"{path}.{field.encode_name}"))
