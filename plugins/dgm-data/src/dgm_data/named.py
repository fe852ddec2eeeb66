"""The image data sets that are known by name."""

from __future__ import annotations

import csv
import io
import os
import zipfile
from pathlib import Path

import numpy as np

from dgmcore.data.arrays import Npz
from dgmcore.data.images import Images
from dgmcore.errors import DataError
from dgmcore.noise import IndexedNoise

from .idx import read_idx
from .locate import find_files
from .picture_files import read_pictures
from .stacked import StackedImages

__all__ = ["celeba64", "cifar10", "fashion", "mnist", "stacked_mnist"]

Root = str | os.PathLike[str] | None


def mnist(split: str = "train", root: Root = None) -> Images:
    """MNIST: `mnist.npz` (x_train, y_train, ...), or the four idx files in `mnist/`."""

    folders = ["mnist", "MNIST", "MNIST/raw"]
    hint = "put mnist.npz into one of these folders, or the idx files into its subfolder mnist; DGM_DATA adds a folder"
    try:
        (path,) = find_files("mnist", [["mnist.npz"]], root=root, folders=["", *folders])
    except DataError:
        return _idx("mnist", split, root, folders, hint)
    return _npz("mnist", path, split)


def fashion(split: str = "train", root: Root = None) -> Images:
    """Fashion-MNIST: the four idx files in `fashion-mnist/`, where Debian's package puts them."""

    hint = "install Debian's dataset-fashion-mnist, or set DGM_DATA to the folder that has fashion-mnist/"
    return _idx("fashion", split, root, ["fashion-mnist", "fashion", "FashionMNIST/raw"], hint)


def stacked_mnist(split: str = "train", root: Root = None) -> StackedImages:
    """Stacked MNIST: three random digits as the channels of one image, 1000 modes; seeded, as many as MNIST's."""

    base = mnist(split, root)
    triples = IndexedNoise(0, len(base), scope=f"stacked-mnist/{split}").integers(len(base), 3).numpy()
    return StackedImages("stacked-mnist", base, triples)


def cifar10(split: str = "train", root: Root = None) -> Images:
    """CIFAR-10 from `cifar10.npz` (x_train, y_train, ...), all of it or a part."""

    (path,) = find_files("cifar10", [["cifar10.npz"]], root=root, hint="put cifar10.npz there, or set DGM_DATA")
    return _npz("cifar10", path, split)


def celeba64(split: str = "train", root: Root = None) -> Images:
    """CelebA at 64 x 64 from `celeba64.zip`, whose `meta.csv` says which people are held out.

    The splits are `train` (all others), `test` (the people held out) and `all`.
    """

    hint = "put celeba64.zip (images, and meta.csv with the columns file and holdout) there, or set DGM_DATA"
    (path,) = find_files("celeba64", [["celeba64.zip"]], root=root, hint=hint)
    _check_split("celeba64", split, ("train", "test", "all"))
    array, names = read_pictures(path)
    try:
        with zipfile.ZipFile(path) as archive:
            meta = list(csv.DictReader(io.StringIO(archive.read("meta.csv").decode())))
        row = {name: i for i, name in enumerate(names)}
        held = {int(m["holdout"]): 0 for m in meta}
        wanted = {"train": {0}, "test": {1}, "all": set(held)}[split]
        rows = np.array([row[m["file"]] for m in meta if int(m["holdout"]) in wanted], np.int64)
    except (KeyError, ValueError, zipfile.BadZipFile) as e:
        raise DataError(f"{path}: meta.csv does not fit the images: {e}", hint) from None
    return Images("celeba64", array, rows=rows)


def _npz(name: str, path: Path, split: str) -> Images:
    _check_split(name, split, ("train", "test"))
    arrays = Npz(path)
    x = arrays[f"x_{split}"]
    if x.dtype != np.uint8 or x.ndim not in (3, 4):
        raise DataError(f"{path}: x_{split} is no array of 8-bit images", "store uint8 (n, h, w) or (n, h, w, 3)")
    return Images(name, x[:, None] if x.ndim == 3 else np.moveaxis(x, -1, 1), arrays[f"y_{split}"])


def _idx(name: str, split: str, root: Root, folders: list[str], hint: str) -> Images:
    _check_split(name, split, ("train", "test"))
    prefix = "train" if split == "train" else "t10k"
    stems = [(f"{prefix}-images", "idx3-ubyte"), (f"{prefix}-labels", "idx1-ubyte")]
    names = [[f"{stem}{sep}{kind}{zipped}" for zipped in (".gz", "") for sep in "-."] for stem, kind in stems]
    images, labels = (read_idx(p) for p in find_files(name, names, root=root, folders=folders, hint=hint))
    if images.ndim != 3 or images.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise DataError(f"{name}: images {images.shape} and labels {labels.shape} don't fit", "fetch the files again")
    return Images(name, images[:, None], labels)


def _check_split(name: str, split: str, splits: tuple[str, ...]) -> None:
    if split not in splits:
        raise DataError(f"{name} has no split {split!r}", f"its splits: {', '.join(splits)}")
