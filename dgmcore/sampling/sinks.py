"""Where samples go: a sink takes them batch by batch and writes one file, or one folder of files.

A sink is a context manager that yields a function `write(x)` for batches `(b, *event_shape)`, float32; what it wrote
appears when the block ends without an error. All of them work in constant memory: the shape is known before the first
sample, so headers are written first.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import UsageError
from ..files.atomic import replacing, replacing_folder

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["SINKS", "Sink", "Write", "csv", "folder", "npy", "npz", "open_sink", "png", "safetensors", "sink_of"]

Write = Callable[[np.ndarray], None]
Sink = Callable[[Path, int, "Model"], AbstractContextManager[Write]]

KEY = "samples"


@contextmanager
def npy(path: Path, n: int, model: Model) -> Iterator[Write]:
    """An array `(n, *event_shape)` in numpy's format."""

    with replacing(path) as file:
        _npy_header(file, n, model)
        yield lambda x: _write_all(file, x)


@contextmanager
def npz(path: Path, n: int, model: Model) -> Iterator[Write]:
    """An archive of numpy's with the array `samples`, not compressed."""

    import zipfile

    with replacing(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        member = zipfile.ZipInfo(f"{KEY}.npy")  # dated 1980, so that equal samples make equal files
        member.external_attr = 0o644 << 16
        with archive.open(member, "w", force_zip64=True) as array:
            _npy_header(array, n, model)
            yield lambda x: _write_all(array, x)


@contextmanager
def safetensors(path: Path, n: int, model: Model) -> Iterator[Write]:
    """A safetensors file with the tensor `samples`."""

    shape = [n, *model.event_shape]
    header = {
        "__metadata__": {"format": "pt", "model": model.entry.name if model.entry else type(model).__name__},
        KEY: {"dtype": "F32", "shape": shape, "data_offsets": [0, 4 * math.prod(shape)]},
    }
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)  # the data are aligned
    with replacing(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        yield lambda x: _write_all(file, x)


@contextmanager
def csv(path: Path, n: int, model: Model) -> Iterator[Write]:
    """Text: a line of names `x0,x1,...`, then a sample on each line, with the digits that give back its float32."""

    width = math.prod(model.event_shape)
    line = ",".join(["%.9g"] * width) + "\n"
    rows = max(1, 2**16 // max(1, width))

    with replacing(path) as file:
        file.write((",".join(f"x{i}" for i in range(width)) + "\n").encode())

        def write(x: np.ndarray) -> None:
            for some in np.split(x.reshape(len(x), width), range(rows, len(x), rows)):
                file.write((line * len(some) % tuple(some.ravel().tolist())).encode())

        yield write


@contextmanager
def png(path: Path, n: int, model: Model) -> Iterator[Write]:
    """A picture: a grid of images, or a scatter plot of points over the model's density.

    Images are kept as bytes, and of very many points the first `MAX_POINTS`.
    """

    from . import pictures

    canvas = pictures.Canvas(model)
    if canvas.kind == "image" and n * math.prod(model.event_shape[-2:]) > pictures.MAX_PIXELS:
        raise UsageError(f"{n:,} images are too many for one picture", "give --out a folder, or .npz")
    kept: list[np.ndarray] = []

    def write(x: np.ndarray) -> None:
        if canvas.kind == "image":
            kept.append(pictures.to_uint8(x, canvas.range))
        elif sum(map(len, kept)) < pictures.MAX_POINTS:
            kept.append(x)

    with replacing(path) as file:
        yield write
        pictures.write_png(canvas.draw(np.concatenate(kept)), file)


@contextmanager
def folder(path: Path, n: int, model: Model) -> Iterator[Write]:
    """A folder of PNG files, `00000.png` and so on."""

    from . import pictures

    if pictures.kind_of(tuple(model.event_shape)) != "image":
        raise UsageError("only images can be written as a folder of pictures", f"choose one of {', '.join(SINKS)}")
    digits = max(5, len(str(n - 1)))
    limits = pictures.Canvas(model).range

    with replacing_folder(path) as stage:
        count = 0

        def write(x: np.ndarray) -> None:
            nonlocal count
            for image in pictures.to_uint8(x, limits):
                with open(stage / f"{count:0{digits}}.png", "xb") as file:
                    pictures.write_png(image, file)
                count += 1

        yield write


#: The sinks by the suffix of what they write.
SINKS: dict[str, Sink] = {".png": png, ".npz": npz, ".npy": npy, ".safetensors": safetensors, ".csv": csv}


def sink_of(path: str | os.PathLike[str]) -> Sink:
    """Returns the sink for a path, by its suffix; without one, or with a slash at the end, it is a folder.

    Raises:
        UsageError: If the suffix is unknown.
    """

    text = os.fspath(path)
    suffix = Path(text).suffix.lower()
    if text.endswith(("/", os.sep)) or Path(text).is_dir() or not suffix:
        return folder
    if suffix not in SINKS:
        raise UsageError(f"can't write {text}: unknown suffix {suffix}", f"use {', '.join(SINKS)}, or a folder/")
    return SINKS[suffix]


@contextmanager
def open_sink(path: str | os.PathLike[str], n: int, model: Model) -> Iterator[Write]:
    """Opens the sink for a path; the block must write exactly `n` samples."""

    written = 0
    with sink_of(path)(Path(path), n, model) as write:

        def counted(x: np.ndarray) -> None:
            nonlocal written
            written += len(x)
            write(np.ascontiguousarray(x, dtype=np.float32))

        yield counted
        if written != n:
            raise RuntimeError(f"{written} of {n} samples were written to {path}")


def _npy_header(file, n: int, model: Model) -> None:
    shape = (n, *model.event_shape)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _write_all(file, x: np.ndarray) -> None:
    file.write(memoryview(x.astype("<f4", copy=False)).cast("B") if x.size else b"")
