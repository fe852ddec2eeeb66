"""Opening data by a name, a path or a recipe's description."""

from __future__ import annotations

import inspect
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..config import parse
from ..console import say
from ..errors import DataError, PluginError, UsageError
from ..plugins.provided import call, imported, plugins, provided
from ..plugins.records import Function
from ..suggestions import did_you_mean
from .arrays import Arrays, is_array_file, open_arrays
from .base import Dataset
from .images import Images
from .spec import DataSpec
from .view import View

#: Files that dgm-data opens.
PICTURES = (".png", ".jpg", ".jpeg", ".zip")

__all__ = ["as_tensor", "is_path", "open_data", "open_for", "require_path"]


def open_data(spec: str | os.PathLike[str] | DataSpec, *, split: str | None = None, **changes: Any) -> View:
    """Opens data in the range and size that `spec` wants.

    Arguments:
        spec: A data set's name, or a path to a `.npy`, `.npz`, `.csv` or `.safetensors` file, an image, a folder or a
            zip of images; with a split (`"fashion:test"`, `"mine.npz:test"`) or without (`train`). Or a `DataSpec`.
        split: Another split.
        changes: Other fields of the `DataSpec`: `range`, `pad`, `resize`, `limit`, `options`, ...

    Raises:
        DataError: If there is no such data, or if they are unusable.

    Example:
        >>> open_data("moons:test").event_shape
        (2,)
    """
    spec = _spec_of(spec, split, changes)
    return View(_open(spec), spec)


def open_for(model: Any, spec: str | os.PathLike[str] | DataSpec, **changes: Any) -> View:
    """Opens data in the range and shape of a model, or of its entry; its own data set with the entry's options.

    Images of the model's own data set get a margin, and others of the same proportions are resized, which is said on
    stderr. Rows of a `.csv` are given the model's shape.

    Arguments:
        model: A loaded model, or an `Entry`.
        spec: As in :func:`open_data`.
        changes: As in :func:`open_data`; with `crop=True` images of other proportions are cut to squares.

    Raises:
        DataError: If there is no such data, or if they don't fit.
    """
    entry = getattr(model, "entry", None) or model
    data = getattr(entry, "data", None)
    if data is None:
        return open_data(spec, **changes)
    if data.range is not None:
        changes.setdefault("range", tuple(data.range))
    chosen = _spec_of(spec, None, changes)
    if chosen.dataset == data.dataset and not chosen.options and "options" not in changes:
        chosen = _changed(chosen, {"options": data.options})
    view = View(_open(chosen), chosen)
    shape = tuple(data.event_shape)
    if view.event_shape != shape:
        view = _fitted(view, shape, data.dataset)
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


def require_path(value: object, what: str) -> str:
    """Returns a name or a path as text; raises a UsageError for what is neither, called `what`."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{what} can't be a {type(value).__name__}", "give a name or a path")
    return os.fspath(value)


def is_path(name: str) -> bool:
    """Whether data are in a file or a folder, by their name, rather than known by a name."""
    return "/" in name or os.sep in name or is_array_file(name) or name.lower().endswith(PICTURES)


def _spec_of(spec: str | os.PathLike[str] | DataSpec, split: str | None, changes: dict[str, Any]) -> DataSpec:
    """Returns what is asked for, a split after a colon taken from the name."""
    if not isinstance(spec, DataSpec):
        name = require_path(spec, "data that are opened")
        head, colon, tail = name.rpartition(":")
        # a path may have a colon of its own
        if colon and "/" not in tail and os.sep not in tail and not os.path.exists(os.path.expanduser(name)):
            if not head or not tail:
                raise DataError(f"{name} names no split", f"write {head or 'NAME'}:test, or leave out the colon")
            name, split = head, split or tail
        spec = DataSpec(dataset=name)
    return _changed(spec, {**changes, **({"split": split} if split is not None else {})})


def _changed(spec: DataSpec, changes: dict[str, Any]) -> DataSpec:
    given = {field: getattr(spec, field) for field in spec.__struct_fields__}
    return parse(DataSpec, {**given, **changes}, source="data", error=DataError) if changes else spec


def _fitted(view: View, shape: tuple[int, ...], own: str) -> View:
    """Returns data in another shape where they can be carried to it, else as they are.

    Arguments:
        view: The data.
        shape: The shape that a model wants.
        own: The model's own data set.
    """
    if isinstance(view.base, Arrays) and view.base.is_table and math.prod(shape) == math.prod(view.event_shape):
        return View(view.base.shaped(shape), view.spec)
    if not isinstance(view.base, Images) or len(shape) != 3 or shape[0] != view.event_shape[0]:
        return view  # arrays of numbers must fit as they are
    (height, width), (rows, columns) = view.event_shape[1:], shape[1:]
    if rows == columns > max(height, width) and os.path.abspath(own) == os.path.abspath(view.name):  # MNIST in 32 x 32
        return View(view.base, _changed(view.spec, {"pad": rows}))
    if height * columns != rows * width or rows != columns:
        raise DataError(
            f"{view.name} has images of {width} x {height}, the model's are {columns} x {rows}",
            "cut them to these proportions first",
        )
    say(f"{view.name}: images of {width} x {height} are resized to {columns} x {rows}")
    return View(view.base, _changed(view.spec, {"resize": rows}))


def _open(spec: DataSpec) -> Dataset:
    if is_path(spec.dataset):
        return _open_path(spec)
    known = provided().datasets
    if spec.dataset not in known:
        if os.path.exists(spec.dataset):  # a folder of images here
            return _open_path(spec)
        here = any(plugin.source.distribution == "dgm-data" for plugin in plugins())
        hint = did_you_mean(spec.dataset, known) if here else "pip install dgm-data, which brings data sets"
        if ":" in spec.dataset:
            hint = "write a split as `split: test`, not behind a colon"
        raise DataError(f"no data set is called {spec.dataset}", hint)
    if spec.background is not None:
        raise DataError(f"{spec.dataset} has no transparent pictures", "drop data.background")
    return _open_named(spec, known[spec.dataset])


def _open_named(spec: DataSpec, record: Function) -> Dataset:
    function = imported(record.plugin, f"data set {spec.dataset}", record.import_)
    accepted = [p.name for p in inspect.signature(function).parameters.values() if p.name not in ("split", "root")]
    for key in spec.options:
        if key not in accepted:
            raise DataError(f"the data set {spec.dataset} has no option {key}", did_you_mean(key, accepted))
    opened = function(spec.split, None, **spec.options)
    if not isinstance(opened, Dataset):
        raise PluginError(f"the data set {spec.dataset} is no dgmcore.data.Dataset: {opened!r}", "correct the plugin")
    return opened


def _open_path(spec: DataSpec) -> Dataset:
    path = Path(spec.dataset if "\0" in spec.dataset else os.path.expanduser(spec.dataset))
    if spec.options:
        raise DataError(f"{path}: files have no options", "drop data.options")
    if not os.path.exists(path):
        raise DataError(f"there is no {path}", "check the path")
    if is_array_file(path) and path.is_file():
        if spec.background is not None:
            raise DataError(f"{path} has no transparent pictures", "drop data.background")
        return open_arrays(path, spec.split)
    if path.is_dir() or (path.is_file() and path.suffix.lower() in PICTURES):
        if spec.split != "train":
            raise DataError(f"{path} has no split {spec.split}", "files of images have no splits")
        size = (spec.resize, spec.resize) if spec.crop and spec.resize else None
        return call("open_pictures")(path, size, spec.background)
    raise DataError(
        f"{path} is of an unknown kind", "give .npy, .npz, .csv, .safetensors, an image, or a folder or zip of images"
    )
