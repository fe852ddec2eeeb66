"""Data that are 8-bit images, kept as bytes until a batch is made."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from .base import Dataset

__all__ = ["Images", "to_range"]


class Images(Dataset):
    """Images in an array, which may be a memory map.

    Arguments:
        name: The data set's name, or the path.
        array: uint8, `(N, C, H, W)`.
        labels: Integers `(N,)`, or None.
        rows: The rows that belong to the split; None for all.
    """

    levels = 256
    range = (-1.0, 1.0)

    def __init__(self, name: str, array: np.ndarray, labels: np.ndarray | None = None, rows: np.ndarray | None = None):
        assert array.dtype == np.uint8 and array.ndim == 4, (array.dtype, array.shape)
        self.name, self.array, self.rows = name, array, rows
        self._labels = labels
        self.event_shape = tuple(array.shape[1:])

    def __len__(self) -> int:
        return len(self.array) if self.rows is None else len(self.rows)

    def raw(self, index: np.ndarray) -> Tensor:
        """Returns the bytes at `index`, uint8 `(len(index), C, H, W)`."""
        index = np.asarray(index)
        return torch.from_numpy(self.array[index if self.rows is None else self.rows[index]])

    def take(self, index: np.ndarray) -> Tensor:
        return to_range(self.raw(index), self.range)

    def labels(self, index: np.ndarray) -> Tensor | None:
        if self._labels is None:
            return None
        index = np.asarray(index)
        return torch.from_numpy(self._labels[index if self.rows is None else self.rows[index]].astype(np.int64))


def to_range(x: Tensor, range: tuple[float, float]) -> Tensor:
    """Returns bytes as float32, 0 at the lower end of `range` and 255 at the upper."""
    low, high = range
    return x.to(torch.float32).mul_((high - low) / 255).add_(low)
