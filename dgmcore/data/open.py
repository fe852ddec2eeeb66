"""Opening data by a name, a path or a recipe's description."""

from __future__ import annotations

import inspect
import os
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import parse
from ..errors import DataError
from ..suggestions import did_you_mean
from .arrays import is_array_file, open_arrays
from .base import Dataset
from .images import Images
from .picture_files import SUFFIXES as PICTURES
from .picture_files import open_pictures
from .spec import DataSpec
from .view import View

__all__ = ["as_tensor", "open_data", "open_for"]


def open_data(spec: str | os.PathLike[str] | DataSpec, *, split: str | None = None, **changes: Any) -> View:
    """Opens data in the range and size that `spec` wants.

    Arguments:
        spec: A data set's name, with a split (`"fashion:test"`) or without (`train`); a path to a
            `.npy`, `.npz`, `.csv` or `.safetensors` file, an image, a folder or a zip of images; or a `DataSpec`.
        split: Another split.
        changes: Other fields of the `DataSpec`: `range`, `pad`, `resize`, `limit`, `options`, ...

    Raises:
        DataError: If there is no such data, or if they are unusable.

    Example:
        >>> open_data("moons:test").event_shape
        (2,)
    """

    if not isinstance(spec, DataSpec):
        name, named = _split_of(spec)
        spec, split = DataSpec(dataset=name), split or named
    if split is not None:
        changes["split"] = split
    if changes:
        given = {f: getattr(spec, f) for f in spec.__struct_fields__}
        spec = parse(DataSpec, {**given, **changes}, source="data", error=DataError)
    return View(_open(spec), spec)


def open_for(model: Any, spec: str | os.PathLike[str] | DataSpec, **changes: Any) -> View:
    """Opens data in the range and shape of a model, or of its entry; its own data set with the entry's options.

    Arguments:
        model: A loaded model, or an `Entry`.
        spec: As in :func:`open_data`.
    """

    entry = getattr(model, "entry", None) or model
    data = getattr(entry, "data", None)
    if data is None:
        return open_data(spec, **changes)
    shape = tuple(data.event_shape)
    if data.range is not None:
        changes.setdefault("range", tuple(data.range))
    if data.options and not isinstance(spec, DataSpec) and _split_of(spec)[0] == data.dataset:
        changes.setdefault("options", data.options)
    view = open_data(spec, **changes)
    pictures = isinstance(view.base, Images)  # arrays of numbers must fit as they are
    if pictures and view.event_shape != shape and len(shape) == 3 and shape[0] == view.event_shape[0]:
        # the same pictures with a margin, as MNIST in 32 x 32, or pictures of another size
        size, have = shape[-1], view.event_shape[-1]
        key = "pad" if size > have and data.dataset == view.name else "resize"
        view = open_data(spec, **{**changes, key: size})
    if view.event_shape != shape:
        name = getattr(entry, "name", type(model).__name__)
        raise DataError(
            f"{view.name} has data of shape {view.event_shape}, but {name} wants {shape}", "give data of that shape"
        )
    return view


def as_tensor(dataset: Dataset, limit: int | None = None) -> Tensor:
    """Returns the first `limit` data (None: all) as one tensor."""

    n = len(dataset) if limit is None else min(limit, len(dataset))
    blocks = [dataset.take(np.arange(i, min(i + 4096, n))) for i in range(0, n, 4096)]
    return torch.cat(blocks) if blocks else torch.empty(0, *dataset.event_shape)


def _split_of(spec: str | os.PathLike[str]) -> tuple[str, str | None]:
    """Returns the data set's name or path, and the split that is named after a colon."""

    name = os.fspath(spec)
    if _is_path(name) or ":" not in name:
        return name, None
    name, _, split = name.rpartition(":")
    return name, split


def _is_path(name: str) -> bool:
    return "/" in name or os.sep in name or is_array_file(name) or name.lower().endswith((*PICTURES, ".zip"))


def _open(spec: DataSpec) -> Dataset:
    if _is_path(spec.dataset):
        return _open_path(spec)
    from ..plugins.provided import datasets

    known = datasets()
    if spec.dataset not in known:
        if os.path.exists(spec.dataset):  # a folder of images here
            return _open_path(spec)
        raise DataError(f"no data set is called {spec.dataset}", did_you_mean(spec.dataset, known))
    module, _, name = known[spec.dataset]["import"].partition(":")
    function = getattr(import_module(module), name)
    accepted = [p.name for p in inspect.signature(function).parameters.values() if p.name not in ("split", "root")]
    for key in spec.options:
        if key not in accepted:
            raise DataError(f"the data set {spec.dataset} has no option {key}", did_you_mean(key, accepted))
    return function(spec.split, None, **spec.options)


def _open_path(spec: DataSpec) -> Dataset:
    path = Path(spec.dataset if "\0" in spec.dataset else os.path.expanduser(spec.dataset))
    if spec.options:
        raise DataError(f"{path}: files have no options", "drop data.options")
    if not os.path.exists(path):
        raise DataError(f"there is no {path}", "check the path")
    if is_array_file(path) and path.is_file():
        return open_arrays(path, spec.split)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in (*PICTURES, ".zip")):
        if spec.split != "train":
            raise DataError(f"{path} has no split {spec.split}", "files of images have no splits")
        return open_pictures(path)
    raise DataError(
        f"{path} is of an unknown kind", "give .npy, .npz, .csv, .safetensors, an image, or a folder or zip of images"
    )
