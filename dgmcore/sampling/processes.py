"""Sharing the work among the processes that `torchrun` or `accelerate launch` starts.

The launcher says in the environment which process this is; the group
of several is made by dgm-train.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from ..plugins import call

__all__ = ["Place", "agree", "device_here", "here", "joined", "share_batches"]


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
    if not any(os.environ.get(name, "").strip() for name in ("WORLD_SIZE", "RANK")):
        return Place(0, 1, 0)
    place: Place = call("place_of_process")()
    return place


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
    with call("join_processes")(place, settings):
        yield place


def agree(value: Any = None, error: BaseException | None = None) -> list[Any]:
    """Returns the values of all processes, by rank, once all are here; must be called by all.

    Raises:
        DgmError: In every process, if one has an error, or has gone.
    """
    values: list[Any] = call("agree")(value, error)
    return values
