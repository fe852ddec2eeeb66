"""The real data of an evaluation."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dgmcore.data.base import Dataset
from dgmcore.errors import DataError

if TYPE_CHECKING:
    from dgmcore.entry import Entry

__all__ = ["Shuffled", "splits"]


class Shuffled(Dataset):
    """Some of a data set, at random: any first few are like the whole, whatever the order of the files.

    (The first half of MNIST's test set is easier than the second.)
    """

    def __init__(self, base: Dataset, n: int | None, seed: int):
        self.base, self.name = base, base.name
        self.event_shape, self.range, self.levels = base.event_shape, base.range, base.levels
        self.index = np.random.default_rng(seed).permutation(len(base))[:n]

    def __len__(self) -> int:
        return len(self.index)

    def take(self, index: np.ndarray) -> Tensor:
        return self.base.take(self.index[index])

    def labels(self, index: np.ndarray) -> Tensor | None:
        return self.base.labels(self.index[index])


def splits(against: str | None, entry: Entry) -> tuple[str, str | None]:
    """Returns the real data's name with its split, and another split of the same data for the floor."""

    against = against or f"{entry.data.dataset}:test"
    dataset, colon, split = against.rpartition(":")
    if not colon or os.path.exists(against):
        from dgmcore import plugins

        if against not in plugins.datasets():
            return against, None
        dataset, split = against, "test"
    if not split:
        raise DataError(f"no split in {against}", f"write {dataset}:test")
    return f"{dataset}:{split}", f"{dataset}:{'train' if split != 'train' else 'test'}"
