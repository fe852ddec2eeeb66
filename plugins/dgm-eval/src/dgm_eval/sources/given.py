"""Samples that are there already, in a file or a folder, in place of a model that draws them."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dgmcore import Model
from dgmcore.data import open_data, open_for
from dgmcore.data.base import Dataset
from dgmcore.data.open import is_path
from dgmcore.entry import ENTRY_FILE, SCHEMA, Data, Entry
from dgmcore.errors import DataError, UsageError

from ..real import Shuffled, described

__all__ = ["Given", "given", "is_samples"]


class Given(Model):
    """Samples as a generator: sample number `i` is one of them, in an order that the seed gives.

    Arguments:
        dataset: The samples.
        entry: Says what data they are.
    """

    dataset: Dataset

    def __init__(self, dataset: Dataset, entry: Entry, seed: int = 0):
        super().__init__()
        self.event_shape = tuple(entry.data.event_shape)
        self.entry = entry
        self.dataset = Shuffled(dataset, None, seed)

    def __len__(self) -> int:
        return len(self.dataset)

    def sample(self, noise: Any, **options: Any) -> Tensor:
        self.sampling(options)
        return self.dataset.take(np.arange(noise.start, noise.start + noise.n))


def is_samples(name: Any) -> bool:
    """Whether a name is that of samples in a file or a folder, rather than of an entry."""

    if not isinstance(name, (str, os.PathLike)):
        return False
    path = Path(os.path.expanduser(name))
    if path.is_dir():
        return not (path / ENTRY_FILE).is_file() and os.sep in os.fspath(name)
    return path.name != ENTRY_FILE and path.suffix != ".yaml" and is_path(os.fspath(name)) and path.suffix != ""


def given(path: str | os.PathLike[str], against: str | None, seed: int = 0) -> Given:
    """Opens samples in the shape and range of the data that they are compared with.

    Arguments:
        path: An array file, a picture, a folder or zip of pictures.
        against: The real data, or `stats:NAME`.
        seed: Of their order.

    Raises:
        UsageError: If nothing is said of the real data.
        DataError: If the samples are missing, or do not fit them.
    """

    if against is None:
        raise UsageError(f"what are the samples in {path} to be compared with?", "name the data with --against DATA")
    entry = _entry_like(Path(path), against)
    dataset = open_for(entry, path)
    if entry.data.levels and len(entry.data.event_shape) == 3 and not hasattr(dataset.base, "raw"):
        _check_range(dataset, os.fspath(path))
    return Given(dataset, entry, seed)


def _entry_like(path: Path, against: str) -> Entry:
    """Describes samples as being of the same kind as the real data."""

    data = described(against)
    if data is None:
        real = open_data(against)
        name, _, split = against.rpartition(":")
        known = name if name and split in ("train", "test") else against
        data = Data(dataset=known, event_shape=tuple(real.event_shape), range=real.range, levels=real.levels)
    name = re.sub(r"[^a-z0-9-]+", "-", path.name.lower()).strip("-")[:90] or "samples"
    return Entry(schema=SCHEMA, name=name, architecture="samples", license="unknown", data=data)


def _check_range(dataset: Dataset, path: str) -> None:
    """Refuses floating-point images that look like ones in [0, 1] where [-1, 1] is meant."""

    low = min(
        float(dataset.take(np.arange(i, min(i + 1000, len(dataset)))).min()) for i in range(0, len(dataset), 1000)
    )
    if dataset.range is not None and low >= sum(dataset.range) / 2:
        raise DataError(
            f"{path}: no value is below {low:.3g}, though the range is {list(dataset.range)}: are they in [0, 1]?",
            "store bytes (uint8), or numbers in that range",
        )
