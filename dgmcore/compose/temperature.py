"""Temperatures of Markov chains: one for each step."""

from __future__ import annotations

from collections.abc import Sequence

from ..errors import OptionError

__all__ = ["linear", "of_each_step"]


def linear(first: float, last: float, steps: int) -> list[float]:
    """Returns temperatures that go linearly from the first step's to the last's.

    Example:
        >>> linear(1.0, 0.0, 5)
        [1.0, 0.75, 0.5, 0.25, 0.0]
    """
    span = max(steps - 1, 1)
    return [first + (last - first) * k / span for k in range(steps)]


def of_each_step(temperature: float | Sequence[float], steps: int) -> list[float]:
    """Returns a temperature for each step of a chain: the one given, or those given.

    Raises:
        OptionError: If there are fewer than no steps, another number of temperatures, or one below 0 or not finite.
    """
    if steps < 0:
        raise OptionError(f"a chain of {steps} steps", "choose steps of at least 0")
    each = [float(temperature)] * steps if isinstance(temperature, int | float) else list(temperature)
    if len(each) != steps:
        raise OptionError(f"{len(each)} temperatures for {steps} steps", "give one number, or one for each step")
    for t in each:
        if not 0 <= t < float("inf"):
            raise OptionError(f"a chain at temperature {t:g}", "choose a temperature of at least 0")
    return each
