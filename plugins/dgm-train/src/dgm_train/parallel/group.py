"""The group of the processes that a launcher started: they meet, wait for each other, and agree.

The process group is made only where there are several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from dgmcore.errors import DgmError, UsageError
from dgmcore.sampling.processes import Place

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["agree", "join_processes", "meet", "place"]

#: How long processes wait for each other to start.
JOIN = timedelta(minutes=2)
#: How long for each other's work: the slowest share of a long run may take days longer than the fastest.
WORK = timedelta(days=30)

_LAUNCH = "start with torchrun, or unset RANK and WORLD_SIZE"

#: The group that works, in which processes wait for long.
_work: ProcessGroup | None = None


def place() -> Place:
    """Returns this process's place, as the launcher says it; the work of :func:`dgmcore.sampling.processes.here`.

    Raises:
        UsageError: If what it says makes no sense.
    """
    world, rank, local = (_setting(name) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    if world is None or (rank is None and world != 1):
        missing = "WORLD_SIZE" if world is None else "RANK"
        raise UsageError(f"the environment says that there are several processes, but no {missing}", _LAUNCH)
    place = Place(rank or 0, world, local or 0)
    if not 0 <= place.rank < place.world or place.local < 0:
        raise UsageError(f"RANK={place.rank} is no process of WORLD_SIZE={place.world}", _LAUNCH)
    port = _setting("MASTER_PORT")
    if place.world > 1 and not (os.environ.get("MASTER_ADDR") and port):
        raise UsageError(f"there are {place.world} processes, but no MASTER_ADDR and MASTER_PORT to meet at", _LAUNCH)
    if place.world > 1 and not 0 < (port or 0) < 1 << 16:
        raise UsageError(f"MASTER_PORT={port} is no port", _LAUNCH)
    return place


def _setting(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 9:
        raise UsageError(f"{name}={text[:40]} is no number{'' if name == 'MASTER_PORT' else ' of processes'}", _LAUNCH)
    return int(text)


@contextmanager
def join_processes(place: Place, settings: Mapping[str, Any]) -> Iterator[None]:
    """Joins several processes for the block; the work of :func:`dgmcore.sampling.processes.joined`."""
    if dist.is_initialized():
        _compare(settings)
        yield
        return
    _join(place)
    try:
        _compare(settings)
        yield
    finally:
        _leave()


def _join(place: Place) -> None:
    global _work
    with _met(place):
        dist.init_process_group("gloo", timeout=JOIN)
        _work = dist.new_group(timeout=WORK, backend="gloo")


def meet(place: Place) -> dict[str, Any]:
    """Waits for all processes, two minutes at most, unless they have met; returns what `init_process_group` wants.

    Raises:
        DgmError: If one does not come.
    """
    if place.world == 1 or dist.is_initialized():
        return {}
    with _met(place):
        store, rank, world = next(iter(rendezvous("env://", timeout=JOIN)))
        store.set(f"here/{rank}", "")
        store.wait([f"here/{r}" for r in range(world)], JOIN)
        return {"store": store, "rank": rank, "world_size": world}


@contextmanager
def _met(place: Place) -> Iterator[None]:
    try:
        yield
    except (RuntimeError, ValueError) as e:
        if dist.is_initialized():
            dist.destroy_process_group()
        raise DgmError(
            f"process {place.rank} has not met the {place.world - 1} others: {str(e).splitlines()[0][:200]}",
            "start all of them within two minutes, and see their messages",
        ) from e


def _leave() -> None:
    global _work
    _work = None
    dist.destroy_process_group()


def _compare(settings: Mapping[str, Any]) -> None:
    """Raises in every process if one was asked for something else than the first."""
    first, *others = agree({key: f"{value!r:.200}" for key, value in settings.items()})
    for rank, other in enumerate(others, 1):
        for key in sorted({*first, *other}):
            if first.get(key) != other.get(key):
                raise UsageError(
                    f"process 0 was asked for {key} {first.get(key)}, process {rank} for {other.get(key)}",
                    "start all processes with the same command",
                )


def agree(value: Any = None, error: BaseException | None = None) -> list[Any]:
    """Returns the values of all processes, by rank, once all are here; must be called by all.

    Raises:
        DgmError: In every process, if one has an error, or has gone.
    """
    said: list[Any] = [None] * dist.get_world_size()
    try:
        dist.all_gather_object(said, (value, None if error is None else str(error)), group=_work)
    except RuntimeError as e:
        raise error or DgmError("another process of this run has ended", "see its own message") from e
    if error is not None:
        raise error
    for rank, (_, failure) in enumerate(said):
        if failure is not None:
            raise DgmError(f"process {rank} failed: {failure}", "see its own message")
    return [value for value, _ in said]
