"""Samples are pushed in blocks of one length: the arithmetic of small ones depends on how many there are."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

__all__ = ["block_of", "in_blocks"]


def block_of(event_shape: tuple[int, ...]) -> int:
    """Returns how many samples of a shape are pushed at once."""

    return 1024 if math.prod(event_shape) <= 64 else 4


def in_blocks(function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor, size: int) -> tuple[Tensor, ...]:
    """Returns what a function makes of `x`, `(n, ...)`, that is given `size` rows at once: the same bits for any n.

    Arguments:
        function: Of `(size, ...)`, to tensors with a row for each.
        x: The rows; the last block is filled up with the last of them.
        size: The rows of a block.
    """

    short = -len(x) % size
    filled = torch.cat([x, x[-1:].expand(short, *x.shape[1:])]) if short else x
    parts = [function(block) for block in filled.split(size)]
    return tuple(torch.cat(column)[: len(x)] for column in zip(*parts, strict=True))
