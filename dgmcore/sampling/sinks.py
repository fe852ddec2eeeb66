"""Where samples go: a sink takes them batch by batch and writes one file, or one folder of files.

A sink is a context manager that yields a function `write(x)` for batches `(b, *event_shape)`, float32; what it wrote
appears when the block ends without an error. All of them work in constant memory: the shape is known before the first
sample, so headers are written first.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
import shutil
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, BinaryIO

import numpy as np

from ..errors import UsageError
from ..files.atomic import is_stream, replacing, replacing_folder
from ..plugins import call
from . import provenance
from .processes import here
from .settings import model_name, model_range, require_finite

if TYPE_CHECKING:
    from ..model import Model

Write = Callable[[np.ndarray], Any]
Sink = Callable[[Path, int, "Model"], AbstractContextManager[Write]]

KEY = "samples"
MAX_PIXELS = 100_000_000  # of all images of one picture


@contextmanager
def npy(path: Path, n: int, model: Model) -> Iterator[Write]:
    """An array `(n, *event_shape)` in numpy's format."""
    with replacing(path) as file:
        _npy_header(file, n, model)
        yield lambda x: _write_all(file, x)
    provenance.write_sidecar(path)


@contextmanager
def npz(path: Path, n: int, model: Model) -> Iterator[Write]:
    """An archive of numpy's with the array `samples`, not compressed."""
    with replacing(path) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        member = zipfile.ZipInfo(f"{KEY}.npy")  # dated 1980, so that equal samples make equal files
        member.external_attr = 0o644 << 16
        with archive.open(member, "w", force_zip64=True) as array:
            _npy_header(array, n, model)
            yield lambda x: _write_all(array, x)
        archive.comment = provenance.text().encode()


@contextmanager
def safetensors(path: Path, n: int, model: Model) -> Iterator[Write]:
    """A safetensors file with the tensor `samples`."""
    shape = [n, *model.event_shape]
    about = {"format": "pt", "model": model_name(model), provenance.KEY: provenance.text()}
    header = {
        "__metadata__": {key: value for key, value in about.items() if value},
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
    with replacing(path) as file:
        yield _lines(file, model)
    provenance.write_sidecar(path)


@contextmanager
def stdout(path: Path, n: int, model: Model) -> Iterator[Write]:
    """The same text, on stdout."""
    yield _lines(sys.stdout.buffer, model)
    sys.stdout.buffer.flush()


def _lines(file: BinaryIO, model: Model) -> Write:
    """Writes the line of names; returns what writes samples."""
    width = math.prod(model.event_shape)
    line = ",".join(["%.9g"] * width) + "\n"
    rows = max(1, 2**16 // max(1, width))
    file.write((",".join(f"x{i}" for i in range(width)) + "\n").encode())

    def write(x: np.ndarray) -> None:
        for some in np.split(x.reshape(len(x), width), range(rows, len(x), rows)):
            file.write((line * len(some) % tuple(some.ravel().tolist())).encode())

    return write


@contextmanager
def picture(path: Path, n: int, model: Model) -> Iterator[Write]:
    """A picture: a grid of images, or points with axes over the model's density, which may be `.pdf` or `.svg` too.

    Images are kept as bytes, and of very many points the first `MAX_POINTS`.
    """
    from .pictures import canvas as pictures

    canvas = pictures.Canvas(model)
    pictures.check_format(canvas.kind, path.suffix)
    if canvas.kind == "image" and n * math.prod(model.event_shape[-2:]) > MAX_PIXELS:
        raise UsageError(f"{n:,} images are too many for one picture", "give --out a folder, or .npz")
    kept: list[np.ndarray] = []

    def write(x: np.ndarray) -> None:
        if canvas.kind == "image" or sum(map(len, kept)) < pictures.MAX_POINTS:
            kept.append(canvas.keep(x))

    with replacing(path) as file:
        yield write
        canvas.write(np.concatenate(kept), file, path.suffix)


@contextmanager
def folder(path: Path, n: int, model: Model) -> Iterator[Write]:
    """A folder of PNG files, `00000.png` and so on."""
    from .pictures import kind_of, to_uint8, write_png

    if kind_of(tuple(model.event_shape)) != "image":
        raise UsageError("only images can be written as a folder of pictures", f"choose one of {', '.join(SINKS)}")
    digits = max(5, len(str(n - 1)))
    limits = model_range(model)

    with replacing_folder(path) as stage:
        count = 0

        def write(x: np.ndarray) -> None:
            nonlocal count
            for image in to_uint8(x, limits):
                with open(stage / f"{count:0{digits}}.png", "xb") as file:
                    write_png(image, file, index=count)
                count += 1

        yield write


#: The sinks by the suffix of what they write.
SINKS: dict[str, Sink] = {
    ".png": picture,
    ".pdf": picture,
    ".svg": picture,
    ".npz": npz,
    ".npy": npy,
    ".safetensors": safetensors,
    ".csv": csv,
}

#: Names of stdout.
STDOUT = ("-", "/dev/stdout")


def sink_of(path: str | os.PathLike[str]) -> Sink:
    """Returns the sink for a path, by its suffix; without one, or with a slash at the end, it is a folder.

    Raises:
        UsageError: If the suffix is unknown.
    """
    text = os.path.expanduser(path)
    suffix = Path(text).suffix.lower()
    if not text:
        raise UsageError("an empty text names no file", f"use a name with {', '.join(SINKS)}, or a folder/")
    if text in STDOUT:
        return stdout
    if not suffix and is_stream(Path(text)):  # a pipe of the shell's >(...)
        return csv
    if text.endswith(("/", os.sep)) or Path(text).is_dir() or not suffix:
        return folder
    if suffix not in SINKS:
        raise UsageError(f"can't write {text}: unknown suffix {suffix}", f"use {', '.join(SINKS)}, or a folder/")
    return SINKS[suffix]


@contextmanager
def open_sink(path: str | os.PathLike[str], n: int, model: Model) -> Iterator[Write]:
    """Opens the sink for a path; the block must write exactly `n` samples, all of them finite."""
    written, bits, sink, target = 0, hashlib.sha256(), sink_of(path), Path(path).expanduser()
    if sink in (npy, npz, safetensors, csv) and not is_stream(target):
        _check_space(target, n, model)
    with sink(target, n, model) as write:

        def counted(x: np.ndarray) -> None:
            nonlocal written
            require_finite(x, f"what is to be written to {path}", "write finite numbers only")
            written += len(x)
            x = np.ascontiguousarray(x, dtype=np.float32)
            bits.update(x.data)
            write(x)

        yield counted
        if written != n:
            raise RuntimeError(f"{written} of {n} samples were written to {path}")
        provenance.add(samples=bits.hexdigest())


def _check_space(path: Path, n: int, model: Model) -> None:
    """Raises a UsageError if the numbers of `n` samples do not fit on the disk, before an hour of drawing says so."""
    folder = next(p for p in path.absolute().parents if p.exists())
    size, free = 4 * n * math.prod(model.event_shape), shutil.disk_usage(folder).free
    if size > free:
        raise UsageError(
            f"{n:,} samples take {round(size / 1e9, 3):,} GB, and {folder} has {round(free / 1e9, 3):,} GB free",
            "free some disk space, or draw fewer, or batch by batch with dgmcore.sampling.stream",
        )


def pour(xs: Iterable[np.ndarray], write: Write, watch: Write) -> None:
    """Writes batches, and shows each when it is written."""
    for x in xs:
        write(x)
        watch(x)


def write_samples(
    path: Path, model: Model, n: int, own: Iterable[np.ndarray], size: int, watch: Callable[[np.ndarray], Any]
) -> Path:
    """Writes samples; where there are several processes, each gives its own, and the first writes the file.

    Arguments:
        path: The file, or folder.
        model: The model that drew them.
        n: Their number, over all processes.
        own: The batches of this process, float32 `(b, *event_shape)`, of which `b` is at most `size`.
        size: The size of a batch.
        watch: Is shown each batch that this process writes.

    Returns:
        Where they are.
    """
    path, sink = path.expanduser(), open_sink(path, n, model)
    if here().world > 1:
        call("pour_together")(sink, path, own, (size, *model.event_shape), watch)
    else:
        with sink as write:
            pour(own, write, watch)
    return path


def _npy_header(file: Any, n: int, model: Model) -> None:
    shape = (n, *model.event_shape)
    np.lib.format.write_array_header_1_0(file, {"descr": "<f4", "fortran_order": False, "shape": shape})


def _write_all(file: IO[bytes], x: np.ndarray) -> None:
    file.write(x.astype("<f4", copy=False).data.cast("B") if x.size else b"")
