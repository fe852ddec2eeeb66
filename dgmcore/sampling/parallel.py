"""Sharing the work among the processes that `torchrun` or `accelerate launch` starts.

The launcher says in the environment which process this is; a process group is made only where there are several.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NamedTuple

from ..errors import DgmError

__all__ = ["Place", "agree", "device_here", "group", "here", "share_batches"]


class Place(NamedTuple):
    """Which process this is, of how many, and which on its machine."""

    rank: int
    world: int
    local: int

    @property
    def is_main(self) -> bool:
        return self.rank == 0


def here() -> Place:
    """Returns this process's place; alone unless a launcher says otherwise."""

    rank, world, local = (int(os.environ.get(k, d)) for k, d in (("RANK", 0), ("WORLD_SIZE", 1), ("LOCAL_RANK", 0)))
    return Place(rank, world, local)


def share_batches(n: int, size: int, place: Place) -> tuple[int, int]:
    """Returns the first and the last index (exclusive) of a process's share of `n`: whole batches, in order.

    The batches are those that one process would make, so the results are the same to the last bit.
    """

    count = -(-n // size)
    cuts = (count * k // place.world for k in (place.rank, place.rank + 1))
    first, last = (min(n, cut * size) for cut in cuts)
    return first, last


def device_here(device: str, place: Place) -> str:
    """Returns the device of this process: with several processes on a machine, `cuda` is one GPU for each."""

    if device != "cuda" or place.world == 1:
        return device
    import torch

    return f"cuda:{place.local % max(1, torch.cuda.device_count())}"


@contextmanager
def group() -> Iterator[None]:
    """Joins the processes for the block."""

    import torch.distributed as dist

    if dist.is_initialized():
        yield
        return
    # the slowest share of a long run may take days longer than the fastest
    dist.init_process_group("gloo", timeout=timedelta(days=30))
    try:
        yield
    finally:
        dist.destroy_process_group()


def agree(value: Any = None, error: BaseException | None = None) -> list[Any]:
    """Returns the values of all processes, by rank, once all are here; must be called by all.

    Raises:
        DgmError: In every process, if one has an error.
    """

    import torch.distributed as dist

    said: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(said, (value, None if error is None else str(error)))
    if error is not None:
        raise error
    for rank, (_, failure) in enumerate(said):
        if failure is not None:
            raise DgmError(f"process {rank} failed: {failure}", "see its own message")
    return [value for value, _ in said]
