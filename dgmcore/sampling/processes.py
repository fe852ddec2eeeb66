"""Sharing the work among the processes that `torchrun` or `accelerate launch` starts.

The launcher says in the environment which process this is; a process group is made only where there are several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
import torch.distributed as dist

from ..errors import DgmError, UsageError

if TYPE_CHECKING:
    from torch.distributed import ProcessGroup

__all__ = ["Place", "agree", "device_here", "here", "joined", "share_batches"]

#: How long processes wait for each other to start.
JOIN = timedelta(minutes=2)
#: How long for each other's work: the slowest share of a long run may take days longer than the fastest.
WORK = timedelta(days=30)

_LAUNCH = "start with torchrun, or unset RANK and WORLD_SIZE"


class Place(NamedTuple):
    """Which process this is, of how many, and which on its machine."""

    rank: int
    world: int
    local: int

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def here() -> Place:
    """Returns this process's place; alone unless a launcher says otherwise.

    Raises:
        UsageError: If what it says makes no sense.
    """
    world, rank, local = (_setting(name) for name in ("WORLD_SIZE", "RANK", "LOCAL_RANK"))
    if world is None and rank is None:
        return Place(0, 1, 0)
    if world is None or (rank is None and world != 1):
        missing = "WORLD_SIZE" if world is None else "RANK"
        raise UsageError(f"the environment says that there are several processes, but no {missing}", _LAUNCH)
    place = Place(rank or 0, world, local or 0)
    if not 0 <= place.rank < place.world or place.local < 0:
        raise UsageError(f"RANK={place.rank} is no process of WORLD_SIZE={place.world}", _LAUNCH)
    if place.world > 1 and not (os.environ.get("MASTER_ADDR") and _setting("MASTER_PORT")):
        raise UsageError(f"there are {place.world} processes, but no MASTER_ADDR and MASTER_PORT to meet at", _LAUNCH)
    return place


def _setting(name: str) -> int | None:
    text = os.environ.get(name, "").strip()
    if not text:
        return None
    if not (text.isascii() and text.removeprefix("-").isdigit()) or len(text) > 9:
        raise UsageError(f"{name}={text[:40]} is no number of processes", _LAUNCH)
    return int(text)


def share_batches(n: int, size: int, place: Place) -> tuple[int, int]:
    """Returns the first and the last index (exclusive) of a process's share of `n`: whole batches, in order.

    The batches are those that one process would make, so the results are the same to the last bit.
    """
    count = -(-n // size)
    cuts = (count * k // place.world for k in (place.rank, place.rank + 1))
    first, last = (min(n, cut * size) for cut in cuts)
    return first, last


def device_here(device: str, place: Place) -> str:
    """Returns the device of this process: `auto` is the best there is; for several processes `cuda` is a GPU each."""
    if device not in ("auto", "cuda"):
        return device

    if device == "auto" and not torch.cuda.is_available():
        return "mps" if torch.backends.mps.is_available() else "cpu"
    return "cuda" if place.world == 1 else f"cuda:{place.local % max(1, torch.cuda.device_count())}"


# --- the group --------------------------------------------------------------------------------------

#: The group that works, in which processes wait for long.
_work: ProcessGroup | None = None


@contextmanager
def joined(**settings: Any) -> Iterator[Place]:
    """Joins the processes for the block, if there are several, which must have been asked for the same.

    Arguments:
        settings: What this process was asked for.

    Raises:
        UsageError: In every process, if they were asked for different things.
        DgmError: If one does not come.
    """
    place = here()
    if place.world == 1:
        yield place
        return

    if dist.is_initialized():
        _compare(settings)
        yield place
        return
    _join(place)
    try:
        _compare(settings)
        yield place
    finally:
        _leave()


def _join(place: Place) -> None:
    global _work
    try:
        dist.init_process_group("gloo", timeout=JOIN)
        _work = dist.new_group(timeout=WORK, backend="gloo")
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
