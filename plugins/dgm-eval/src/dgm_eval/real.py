"""The real data of an evaluation."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from dgmcore import plugins
from dgmcore.data.arrays import Npz
from dgmcore.data.base import Dataset
from dgmcore.errors import DataError, UsageError
from dgmcore.registry.find import find

if TYPE_CHECKING:
    from dgmcore.entry import Data, Entry
    from dgmcore.evaluation.metric import Run

__all__ = ["PREFIX", "Shuffled", "blocks", "described", "registered", "splits"]

#: What names reference statistics where data are named.
PREFIX = "stats:"


class Shuffled(Dataset):
    """Some of a data set, at random: any first few are like the whole, whatever the order of the files.

    (The first half of MNIST's test set is easier than the second.)

    Arguments:
        base: The data set.
        n: How many of it; None for all.
        seed: Of the choice and the order.
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


def blocks(run: Run, dataset: Dataset, label: str, size: int = 500) -> Iterator[np.ndarray]:
    """Yields the indices of all data, `size` at once, and shows how far the work is."""

    with run.progress(label, len(dataset)) as advance:
        for start in range(0, len(dataset), size):
            index = np.arange(start, min(start + size, len(dataset)))
            yield index
            advance(len(index))


def described(against: str | None) -> Data | None:
    """Returns what data reference statistics are of, by their entry; None where `against` names none."""

    if against is None or not against.startswith(PREFIX):
        return None
    return find(against.removeprefix(PREFIX)).entry.data


def registered(dataset: str) -> str:
    """Returns the entry whose features are registered for a data set.

    Raises:
        UsageError: If there is none.
    """

    record = plugins.features().get(dataset)
    if record is None:
        what = f"no feature extractor is registered for {dataset}"
        raise UsageError(what, "give an entry that has features with --features ENTRY, see `dgm list --can features`")
    return str(record.entry)


def splits(against: str | None, entry: Entry) -> tuple[str, str | None]:
    """Returns the real data's name with its split, and another split of the same data for the floor, if it has one.

    Arguments:
        against: A data set's name or a path, with a split or without; None takes the entry's own data.
        entry: The model's entry.
    """

    if (against or "").startswith(PREFIX):
        return str(against), None
    name, split = _divided(entry.data.dataset if against is None else against)
    known = _splits_of(name)
    split = split or ("test" if "test" in known else None)
    if split is None:
        return name, None
    other = "train" if split != "train" else "test"
    return f"{name}:{split}", f"{name}:{other}" if other in known else None


def _divided(text: str) -> tuple[str, str | None]:
    """Divides `name:split`."""

    name, colon, split = text.rpartition(":")
    if not colon or os.path.exists(text):
        return text, None
    if not split:
        raise DataError(f"no split in {text}", f"write {name}:test")
    return name, split


def _splits_of(name: str) -> tuple[str, ...]:
    """The splits of a data set, or of a file that holds some."""
    from dgmcore import plugins

    if name in plugins.datasets():
        return ("train", "test")
    path = Path(name).expanduser()
    if path.suffix.lower() != ".npz" or not path.is_file():
        return ()
    return tuple(key.removeprefix("x_") for key in Npz(path) if key.startswith("x_"))
