"""How long work shows its progress: not at all in a library, by a bar where the command line says so."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

__all__ = ["progress", "show_progress"]

_shown: Callable[..., AbstractContextManager[Callable[..., None]]] | None = None


def show_progress(show: Callable[..., AbstractContextManager[Callable[..., None]]] | None) -> None:
    """Sets what shows progress: a context manager `show(label, total, unit)` that yields `advance(k=1)`."""

    global _shown
    _shown = show


@contextmanager
def progress(label: str, total: float | None = None, unit: str = "") -> Iterator[Callable[..., None]]:
    """Yields `advance(k=1, **fields)`, which shows that `k` more of `total` are done."""

    if _shown is None:
        yield _silent
        return
    with _shown(label, total, unit) as advance:
        yield advance


def _silent(k: float = 1, **fields: Any) -> None:
    pass
