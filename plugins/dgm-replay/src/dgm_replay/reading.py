"""Reads what is in a file that dgm wrote: the record of how it was made, and its numbers or pixels.

A file may come from anywhere: what is read is bounded, checked, and never run.
"""

from __future__ import annotations

import html
import json
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from PIL import Image, ImageSequence

from dgmcore.data.arrays import read_array
from dgmcore.errors import DataError
from dgmcore.files.safetensors import MAX_HEADER, read_header
from dgmcore.sampling.provenance import KEY

from .record import SCHEMA

__all__ = ["Record", "pictures_of", "read_contents", "read_record"]

_LARGEST = 1 << 22  # bytes of a record, or of a vector picture
_SVG = re.compile(rb"<dc:description>(.*?)</dc:description>", re.DOTALL)
_PDF = re.compile(rb"/Subject \(((?:\\.|[^\\()])*)\)", re.DOTALL)
_Count = Annotated[int, msgspec.Meta(ge=0, le=2**62)]
_Text = Annotated[str, msgspec.Meta(max_length=4096)]


class Entry(msgspec.Struct):
    """What a record says of an entry that took part."""

    weights: _Text | None = None
    config: dict[str, Any] = {}


class Record(msgspec.Struct, kw_only=True):
    """How a file was made (:mod:`dgmcore.sampling.provenance`)."""

    schema: int = msgspec.field(name=KEY)
    call: _Text
    model: _Text
    arguments: dict[str, Any] = {}
    options: dict[str, Any] = {}
    config: dict[str, Any] = {}
    noise: Literal[1, 2] = 1  # of the version that drew; before there were two, it was not said
    entries: dict[str, Entry] = {}
    state: _Text = ""
    device: _Text = "cpu"
    dtype: _Text = "float32"
    threads: Annotated[int, msgspec.Meta(ge=1, le=4096)] = 1
    processor: _Text = ""
    versions: dict[str, _Text | None] = {}
    index: _Count | None = None  # of one picture of a folder
    density: Literal[0, 64, 128] | None = None  # points a side of the density behind points; 0: none was drawn
    samples: _Text | None = None  # sha256 of all float32 numbers, where the file was written after them

    def plain(self) -> dict[str, Any]:
        """Returns it as JSON says it, without what is not known."""

        said: dict[str, Any] = msgspec.to_builtins(self)
        return {key: value for key, value in said.items() if value is not None}


def read_record(path: Path) -> Record:
    """Reads the record of how a file was made; of a folder of pictures, that of the first which has one.

    Raises:
        DataError: If there is no such file, or it has no record, or one that is not understood.
    """

    if path.is_dir():
        return _first_record(path)
    if not path.is_file():
        raise DataError(f"there is no file {path}", "check the path")
    suffix = path.suffix.lower()
    if suffix not in _RECORDS:
        raise DataError(f"{path} is of no kind that has a record", f"dgm writes them into {', '.join(_RECORDS)}")
    try:
        text = _RECORDS[suffix](path)
    except DataError:
        raise
    except Exception as e:  # readers of formats say many things about damaged files
        raise DataError(f"{path} can't be read: {_first_line(e)}", "check that it is complete") from None
    if not text:
        raise DataError(
            f"{path} has no record of how it was made",
            "`dgm sample`, `interpolate` and `reconstruct` write records if dgm-replay is installed; others drop them",
        )
    return _parsed(text, path)


def _parsed(text: str | bytes, path: Path) -> Record:
    hint = "it was changed, or written by another version: draw the file anew"
    try:
        record = msgspec.json.decode(text, type=Record)
    except (msgspec.DecodeError, RecursionError) as e:
        raise DataError(f"{path}: its record is damaged: {_first_line(e)}", hint) from None
    if record.schema != SCHEMA:
        what = f"{path}: its record is of schema {record.schema}, this version reads {SCHEMA}"
        raise DataError(what, "upgrade dgmcore and dgm-replay")
    return record


def pictures_of(folder: Path) -> list[Path]:
    """Returns the pictures of a folder as dgm names them, in their order."""

    return sorted(p for p in folder.iterdir() if re.fullmatch(r"\d{5,}\.png", p.name))


def _first_record(folder: Path) -> Record:
    for path in pictures_of(folder):
        return read_record(path)
    raise DataError(f"{folder} has no pictures 00000.png, ...", "name a file, or a folder that `dgm sample` wrote")


# --- records ----------------------------------------------------------------------------------------


def _of_png(path: Path) -> str:
    with Image.open(path, formats=["PNG"]) as image:
        image.load()  # the text may come after the pixels
        return str(getattr(image, "text", {}).get(KEY, ""))


def _of_gif(path: Path) -> bytes:
    with Image.open(path, formats=["GIF"]) as image:
        comment = image.info.get("comment", b"")
    return bytes(comment) if comment.startswith(b'{"' + KEY.encode()) else b""


def _of_npz(path: Path) -> bytes:
    with zipfile.ZipFile(path) as archive:
        return archive.comment


def _of_safetensors(path: Path) -> str:
    read_header(path)  # refuses what is no such file
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(min(size, MAX_HEADER)))
    return str(header.get("__metadata__", {}).get(KEY, ""))


def _of_sidecar(path: Path) -> bytes:
    sidecar = path.with_name(f"{path.name}.json")
    return _bounded(sidecar) if sidecar.is_file() else b""


def _of_svg(path: Path) -> str:
    found = _SVG.search(_bounded(path))
    return html.unescape(found[1].decode()) if found else ""


def _of_pdf(path: Path) -> str:
    found = _PDF.search(_bounded(path))
    return re.sub(rb"\\(.)", rb"\1", found[1]).decode() if found else ""


def _bounded(path: Path) -> bytes:
    with path.open("rb") as file:
        data = file.read(_LARGEST + 1)
    if len(data) > _LARGEST:
        raise DataError(f"{path} is larger than any that dgm writes", "check that it is the right file")
    return data


_RECORDS: dict[str, Callable[[Path], str | bytes]] = {
    ".png": _of_png,
    ".gif": _of_gif,
    ".npz": _of_npz,
    ".npy": _of_sidecar,
    ".csv": _of_sidecar,
    ".safetensors": _of_safetensors,
    ".svg": _of_svg,
    ".pdf": _of_pdf,
}


# --- contents ---------------------------------------------------------------------------------------


def read_contents(path: Path) -> np.ndarray:
    """Reads a file's numbers `(n, ...)`, its pixels `(H, W[, C])`, its frames, or the bytes of a vector picture.

    Raises:
        DataError: If it can't be read.
    """

    suffix = path.suffix.lower()
    try:
        if suffix in (".npy", ".npz", ".csv", ".safetensors"):
            return read_array(path)
        if suffix == ".gif":
            with Image.open(path, formats=["GIF"]) as image:
                return np.stack([np.asarray(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)])
        if suffix == ".png":
            with Image.open(path, formats=["PNG"]) as image:
                return np.asarray(image)
    except (OSError, ValueError, Image.DecompressionBombError) as e:
        raise DataError(f"{path} can't be read: {_first_line(e)}", "check that it is complete") from None
    # what is drawn: without the record, and the table of where things are after it
    drawing = re.sub(_SVG if suffix == ".svg" else _PDF, b"", _bounded(path)).partition(b"\nxref")[0]
    return np.frombuffer(drawing, np.uint8)


def _first_line(e: BaseException) -> str:
    return (str(e).splitlines() or [type(e).__name__])[0]
