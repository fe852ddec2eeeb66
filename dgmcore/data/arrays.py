"""Arrays in `.npy`, `.npz`, `.csv` and `.safetensors` files."""

from __future__ import annotations

import math
import os
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors import safe_open
from torch import Tensor

from ..errors import DataError, DgmError
from ..files.safetensors import read_header
from ..plugins.provided import call
from .base import Dataset
from .images import Images

__all__ = ["SUFFIXES", "Arrays", "Npz", "from_array", "open_arrays", "read_array"]

SUFFIXES = (".npy", ".npz", ".csv", ".safetensors")
_UNPACKED = 1 << 28  # bytes that an array of a .npz may always have; beyond, not more than _RATIO times its packed size
_RATIO = 20
_BLOCK = 1 << 22
#: Of the numbers that data may have.
LARGEST = float(np.finfo(np.float32).max)


class Arrays(Dataset):
    """Numbers that are no 8-bit images.

    Arguments:
        name: The data set's name, or the path.
        array: Shape `(N, *event_shape)`, or `(N,)` for events of shape `(1,)`; it may be a memory map.
        labels: Integers `(N,)`, or None.
        is_table: Whether the rows come from a text of numbers, which can't say what shape they have.
    """

    def __init__(self, name: str, array: np.ndarray, labels: np.ndarray | None = None, is_table: bool = False):
        self.name, self._labels, self.is_table = name, labels, is_table
        self.array = array[:, None] if array.ndim == 1 else array
        self.event_shape = tuple(self.array.shape[1:])

    def __len__(self) -> int:
        return len(self.array)

    def shaped(self, event_shape: tuple[int, ...]) -> Arrays:
        """Returns the same data, each of its rows in another shape."""
        return Arrays(self.name, self.array.reshape(len(self), *event_shape), self._labels)

    def take(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(np.asarray(self.array[np.asarray(index)], np.float32))

    def labels(self, index: np.ndarray) -> Tensor | None:
        return None if self._labels is None else torch.from_numpy(self._labels[np.asarray(index)].astype(np.int64))


def open_arrays(path: Path, split: str | None = None) -> Dataset:
    """Opens an array file as a data set.

    A `.npz` may hold splits, as `x_train` with `y_train`. An array of bytes is one of images, with its
    channels last (or first, if the last axis is none of channels, or without an axis of channels).
    """
    if path.suffix.lower() == ".npz":
        arrays = Npz(path)
        key = _key(path, list(arrays), split)
        labels = arrays.get("y" + key[1:]) if key.startswith("x") else None
        return from_array(str(path), arrays[key], labels, what=f"{path}: array {key}")
    if split not in (None, "train"):
        raise DataError(f"{path} has no splits, so none is called {split}", "leave out the split, or use a .npz")
    return from_array(str(path), read_array(path), is_table=path.suffix.lower() == ".csv")


def from_array(
    name: str, array: np.ndarray, labels: np.ndarray | None = None, *, what: str | None = None, is_table: bool = False
) -> Dataset:
    """Returns the data set of an array's rows, images if it holds bytes.

    Raises:
        DataError: If it is empty, holds no numbers, or one that is no finite float32.
    """
    what = what or name
    kind = array.dtype.kind
    if kind not in "fiub":
        raise DataError(f"{what} holds {array.dtype}, not numbers", "store float32 or uint8 numbers")
    if array.ndim == 0 or 0 in array.shape:
        raise DataError(f"{what} is empty: its shape is {array.shape}", "give an array of shape (n, ...)")
    if labels is not None and (labels.dtype.kind not in "iu" or labels.shape != array.shape[:1]):
        raise DataError(f"{what}: the labels don't fit the {len(array)} data", "give one integer for each")
    if array.dtype == np.uint8 and array.ndim in (3, 4):
        return Images(name, _channels_first(array, what), labels)
    if kind == "f":
        _check_finite(array, what)
    return Arrays(name, array, labels, is_table)


def read_array(path: Path) -> np.ndarray:
    """Reads the array of a `.npy`, `.csv` or `.safetensors` file, or the samples of a `.npz`.

    A `.npy` is memory-mapped. Objects are refused, so nothing in the file is run.
    """
    suffix = path.suffix.lower()
    if suffix == ".npz":
        arrays = Npz(path)
        return arrays[_key(path, list(arrays), None)]
    if suffix == ".csv":
        return call("read_csv")(path)
    try:
        if suffix == ".safetensors":
            return _read_safetensors(path)
        array: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
    except DgmError:
        raise
    except Exception as e:  # numpy and safetensors say many things about damaged files
        raise DataError(
            f"{path} can't be read: {first_line(e)}", "store plain numbers, and check that it is complete"
        ) from None
    if not isinstance(array, np.ndarray):
        raise DataError(f"{path} can't be read: it holds several arrays", f"call it {path.stem}.npz")
    return array


def _read_safetensors(path: Path) -> np.ndarray:
    read_header(path)
    with safe_open(path, "pt") as file:
        tensor = file.get_tensor(_key(path, list(file.keys()), None))
    # numpy has none of the short types of neural networks
    array: np.ndarray = (tensor.float() if tensor.is_floating_point() and tensor.itemsize <= 2 else tensor).numpy()
    return array


class Npz:
    """The arrays of a `.npz` by name, read when asked for."""

    def __init__(self, path: Path):
        self.path = path
        try:
            with zipfile.ZipFile(path) as archive:
                members = [(i.filename.removesuffix(".npy"), i) for i in archive.infolist()]
        except Exception as e:  # zipfile says many things about damaged files
            raise DataError(f"{path} can't be read: {first_line(e)}", "check that it is a complete .npz file") from None
        self.members = dict(members)
        if not self.members:
            raise DataError(f"{path} holds no arrays", "store the data as the array `samples`")
        if len(self.members) < len(members):
            raise DataError(f"{path} has an array twice: {_some(self.members)}", "store each array once")

    def __iter__(self) -> Iterator[str]:
        return iter(self.members)

    def get(self, key: str) -> np.ndarray | None:
        return self[key] if key in self.members else None

    def __getitem__(self, key: str) -> np.ndarray:
        if key not in self.members:
            raise DataError(f"{self.path} has no array {key}", f"it has: {_some(self.members)}")
        size, packed = self.members[key].file_size, self.members[key].compress_size
        if size > max(_UNPACKED, _RATIO * min(packed, self.path.stat().st_size)):
            raise DataError(
                f"{self.path}: array {key} has {packed:,} bytes that unpack to {size:,}", "store large arrays as .npy"
            )
        try:
            with np.load(self.path, allow_pickle=False) as file:
                array: np.ndarray = file[key]
        except Exception as e:  # numpy and zlib say many things about damaged files
            raise DataError(
                f"{self.path}: array {key} can't be read: {first_line(e)}",
                "store plain numbers, and check that the file is complete",
            ) from None
        return array


def _key(path: Path, keys: list[str], split: str | None) -> str:
    if split is not None:
        if f"x_{split}" in keys:
            return f"x_{split}"
        splits = [k[2:] for k in keys if k.startswith("x_")]
        if split != "train" or (splits and not {"samples", "x"} & set(keys)):
            raise DataError(f"{path} has no split {split}", f"its splits: {', '.join(splits) or 'none'}")
    for key in ("samples", "x", "x_train"):
        if key in keys:
            return key
    if len(keys) != 1:
        raise DataError(f"{path} has {len(keys)} arrays: {_some(keys)}", "name the one with the data `samples`")
    return keys[0]


def _channels_first(array: np.ndarray, what: str) -> np.ndarray:
    if array.ndim == 3:
        return array[:, None]
    if array.shape[-1] in (1, 3):
        return np.moveaxis(array, -1, 1)
    if array.shape[1] in (1, 3):
        return array
    raise DataError(f"{what}: bytes of shape {array.shape} are no images", "give (n, h, w), (n, h, w, 3), (n, 3, h, w)")


def _check_finite(array: np.ndarray, what: str) -> None:
    rows = max(1, _BLOCK // max(1, math.prod(array.shape[1:])))
    for start in range(0, len(array), rows):
        good = np.abs(array[start : start + rows]) <= min(LARGEST, float(np.finfo(array.dtype).max))  # not so for NaN
        if not good.all():
            row = start + int(np.argwhere(~good)[0][0])
            raise DataError(f"{what} is not finite in row {row}, as float32", "remove the row")


def _some(names: Iterable[str]) -> str:
    listed = list(names)
    return ", ".join(listed[:8]) + (", ..." if len(listed) > 8 else "")


def first_line(e: Exception) -> str:
    """What an error says, in one line."""
    return (str(e).splitlines() or [type(e).__name__])[0]


def is_array_file(path: str | os.PathLike[str]) -> bool:
    """Whether a path names an array file."""
    return Path(path).suffix.lower() in SUFFIXES
