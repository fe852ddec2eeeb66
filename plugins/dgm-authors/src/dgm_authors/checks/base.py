"""What a check is."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dgmcore.interfaces import capabilities

if TYPE_CHECKING:
    from ..subject import Subject

__all__ = ["Check", "Skip", "registry"]


Function = Callable[["Subject"], None]


class Skip(Exception):
    """Raised by a check that can say nothing about this model; the text says why."""


@dataclass(frozen=True)
class Check:
    """A property that models with certain capabilities must have."""

    name: str
    needs: tuple[str, ...]
    summary: str
    function: Callable[[Subject], None]

    def applies(self, kind: type) -> bool:
        """Whether models of this class answer what the check asks."""

        return set(self.needs) <= set(capabilities(kind))

    def __call__(self, subject: Subject) -> None:
        self.function(subject)


def registry() -> tuple[list[Check], Callable[..., Callable[[Function], Function]]]:
    """Returns a list and a decorator that adds checks to it; the docstring is the summary."""

    found: list[Check] = []

    def decorator(*needs: str) -> Callable[[Function], Function]:
        def add(function: Callable[[Subject], None]) -> Callable[[Subject], None]:
            summary = (function.__doc__ or "").strip().splitlines()[0]
            found.append(Check(function.__name__.replace("_", "-"), needs, summary, function))
            return function

        return add

    return found, decorator
