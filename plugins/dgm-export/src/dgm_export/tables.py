"""Data in other people's containers: data sets of torch, and tables of pandas."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgmcore.data.arrays import from_array
from dgmcore.data.base import Dataset
from dgmcore.errors import DataError

__all__ = ["TorchData", "from_pandas", "from_torch", "to_pandas"]


class TorchData(Dataset):
    """A map-style data set of torch as data: its items are tensors, arrays or pictures, or pairs with a label.

    Arguments:
        source: Has a length, and items by their number.
        name: What it is called.
        range: The range of the values; None if unbounded.
        levels: How many values there are, if the data are quantised.

    Raises:
        DataError: If it is empty, or has no length, or its items are no numbers of one shape.
    """

    def __init__(
        self, source: Any, name: str = "torch", range: tuple[float, float] | None = None, levels: int | None = None
    ):
        if not hasattr(source, "__len__") or not hasattr(source, "__getitem__"):
            raise DataError("a data set that is a stream has no length and no items", "give a map-style data set")
        if len(source) == 0:
            raise DataError(f"{name} is empty", "give some data")
        self.source, self.name, self.range, self.levels = source, name, range, levels
        self.event_shape = tuple(self._item(0)[0].shape)

    def __len__(self) -> int:
        return len(self.source)

    def take(self, index: np.ndarray) -> Tensor:
        found = [self._item(int(i))[0] for i in np.asarray(index)]
        if any(x.shape != self.event_shape for x in found):
            raise DataError(f"{self.name} has items of several shapes", "bring them to one size first")
        return torch.stack(found) if found else torch.empty(0, *self.event_shape)

    def labels(self, index: np.ndarray) -> Tensor | None:
        labels = [self._item(int(i))[1] for i in np.asarray(index)]
        return None if any(label is None for label in labels) else torch.tensor([int(x) for x in labels])

    def _item(self, i: int) -> tuple[Tensor, Any]:
        item, label = self.source[i], None
        if isinstance(item, (tuple, list)):
            item, label = item[0], item[1] if len(item) > 1 else None
        try:
            x = torch.as_tensor(np.asarray(item) if not isinstance(item, Tensor) else item, dtype=torch.float32)
        except (TypeError, ValueError, RuntimeError) as e:
            raise DataError(f"{self.name}: item {i} is no tensor: {type(item).__name__}", "transform it to one") from e
        if not x.isfinite().all():
            raise DataError(f"{self.name}: item {i} is not finite", "leave it out")
        return x, label if isinstance(label, int) or (isinstance(label, Tensor) and label.ndim == 0) else None


def from_torch(source: Any, **about: Any) -> TorchData:
    """Returns a data set of torch as data; see :class:`TorchData`."""

    return TorchData(source, **about)


def from_pandas(table: Any) -> tuple[Dataset, list[str]]:
    """Returns a table's numbers as data, and the names of its columns.

    Raises:
        DataError: If a column holds no numbers, or something is missing.
    """

    names = [str(column) for column in table.columns]
    for name, kind in zip(names, table.dtypes, strict=True):
        if getattr(kind, "kind", "O") not in "fiub":
            raise DataError(f"the column {name} holds {kind}, not numbers", "leave it out, or encode it as numbers")
    return from_array("table", table.to_numpy(np.float32)), names


def to_pandas(x: Tensor | np.ndarray, columns: Sequence[str] | None = None) -> Any:
    """Returns samples `(n, d)` as a table; columns are called `x0, x1, ...` where no names are given.

    Raises:
        DataError: If they are no rows of numbers, or there are not as many names.
    """

    import pandas

    values = x.detach().cpu().numpy() if isinstance(x, Tensor) else np.asarray(x)
    if values.ndim != 2:
        raise DataError(f"data of shape {values.shape} are no table", "flatten them to (n, d) first")
    names = [f"x{i}" for i in range(values.shape[1])] if columns is None else list(columns)
    if len(names) != values.shape[1]:
        raise DataError(f"{len(names)} names for {values.shape[1]} columns", "give one name for each column")
    return pandas.DataFrame(values, columns=names)
