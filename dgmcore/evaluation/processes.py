"""Sharing an evaluation among the processes of `torchrun` or `accelerate launch`."""

from __future__ import annotations

import os
from collections.abc import Sequence

import torch
from torch import Tensor

__all__ = ["gathered", "is_main", "share"]


def share(n: int) -> tuple[int, int]:
    """Returns the first and the last index (exclusive) of `n` that are this process's."""

    rank, world = _place()
    return n * rank // world, n * (rank + 1) // world


def gathered(parts: Sequence[Tensor]) -> Tensor:
    """Concatenates blocks along the first axis, over all processes in the order of their ranks."""

    own = torch.cat(list(parts)) if parts else None
    if _place()[1] == 1:
        return own
    import torch.distributed as dist

    if not dist.is_initialized():
        dist.init_process_group("gloo")
    blocks: list[Tensor | None] = [None] * dist.get_world_size()
    dist.all_gather_object(blocks, own)
    return torch.cat([block for block in blocks if block is not None])


def is_main() -> bool:
    """Whether this process is the one that talks."""
    return _place()[0] == 0


def _place() -> tuple[int, int]:
    return int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
