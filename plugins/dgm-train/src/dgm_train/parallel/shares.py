"""One file of several processes: all but the first leave their samples in hidden files, which it takes in order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from dgmcore.files.atomic import hidden, write_error
from dgmcore.sampling.processes import here
from dgmcore.sampling.sinks import pour

from .group import agree

__all__ = ["pour_together"]

Write = Callable[[np.ndarray], Any]


def pour_together(
    sink: AbstractContextManager[Write], path: Path, own: Iterable[np.ndarray], shape: tuple[int, ...], watch: Write
) -> None:
    """Writes what all processes have into the first one's sink; all must call this.

    Arguments:
        sink: Where the samples go; only the first process opens it.
        path: What it writes, beside which the others' files are.
        own: The batches of this process, float32 `(b, *event_shape)`.
        shape: Of a batch, at most.
        watch: Is shown each batch that this process writes.
    """
    place = here()
    target = path.absolute()
    with ExitStack() as stack:
        if not place.is_main:
            part, written = target.with_name(f"{target.name}.part{place.rank}"), []
            error = _failure(lambda: written.append(_write_part(stack, part, own, watch)))
            agree(*written, error=error)  # there it is
            agree()  # and the first process has read it
            return
        opened: list[Write] = []

        def draw() -> None:
            opened.append(stack.enter_context(sink))
            pour(own, opened[0], watch)

        def take() -> None:
            for part in parts[1:]:
                pour(_read_part(target.parent / part, shape), opened[0], watch)

        parts = agree(error=_failure(draw))
        agree(error=_failure(take))


def _failure(work: Callable[[], None]) -> Exception | None:
    """Returns what went wrong, so that the other processes can be told before it is raised."""
    try:
        work()
    except Exception as e:
        return e
    return None


def _write_part(stack: ExitStack, part: Path, own: Iterable[np.ndarray], watch: Write) -> Path:
    """Writes samples into a hidden file, there until `stack` is closed, and returns its path beside `part`."""
    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        path = stack.enter_context(hidden(part))
        with path.open("wb") as file:
            pour(own, lambda x: file.write(x.tobytes()), watch)
        return path.relative_to(part.parent)
    except OSError as e:
        raise write_error(part, e) from e


def _read_part(part: Path, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    with part.open("rb") as file:
        while block := file.read(4 * math.prod(shape)):
            yield np.frombuffer(block, np.float32).reshape(-1, *shape[1:])
