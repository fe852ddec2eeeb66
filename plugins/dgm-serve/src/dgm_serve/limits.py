"""What one request, and all of them together, may ask for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import msgspec

from dgmcore.errors import UsageError

__all__ = ["Limits", "check_options", "check_size"]


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of the work that strangers' requests can cause."""

    n: int = 100_000  # samples, or data
    numbers: int = 4_000_000  # n times the numbers of a datum, pixels for example
    steps: int = 5_000  # of any sampler: options that are called steps
    seconds: float = 120.0  # of one request's work
    workers: int = 2  # requests that are worked on at once, and as many streams
    waiting: int = 64  # and that wait for that
    body: int = 8_000_000  # bytes
    patience: float = 10.0  # seconds for a request to arrive, and for a client to take what it asked for
    connections: int = 200
    models: int = 6  # loaded at once
    idle: float = 600.0  # seconds that an unused model stays


def check_size(n: int, event_shape: tuple[int, ...], limits: Limits) -> None:
    """Refuses more data than one request may have.

    Raises:
        UsageError: If so.
    """

    most = min(limits.n, max(1, limits.numbers // math.prod(event_shape)))
    if n > most:
        raise UsageError(f"{n:,} data of that shape are too many for one request", f"ask for at most {most:,}")


def check_options(options: Mapping[str, Any], limits: Limits) -> None:
    """Refuses options that would take too long, and what JSON can't say of a tensor.

    Raises:
        UsageError: If so.
    """

    for key, value in options.items():
        if "steps" in key and isinstance(value, int | float) and value > limits.steps:
            raise UsageError(f"{key}={value} is too much for one request", f"ask for at most {limits.steps:,}")
        if key == "init" and value is not None:
            raise UsageError("the option init is a tensor, which this API does not take", "leave it out")
