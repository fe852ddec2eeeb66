"""Reading safetensors files that come from anywhere.

The format is eight bytes of little-endian length `N`, `N` bytes of JSON, and the tensors' bytes [1]. The library
checks that the header and the bytes fit each other. What it lets through is refused here: headers of more than
4 MB, names that are there twice or can't be printed, absurd shapes, keys that the format does not have.

References:
    [1] https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, BinaryIO

import msgspec
from safetensors import SafetensorError, safe_open

from ..errors import WeightsError
from .verify import open_regular

if TYPE_CHECKING:
    from torch import Tensor

#: Bytes of JSON that a header may have; 10,000 tensors take about one million.
MAX_HEADER = 4_000_000

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=1000)]
_Size = Annotated[int, msgspec.Meta(ge=0, le=1 << 48)]


class TensorInfo(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What a header says of one tensor; offsets count from the end of the header."""

    dtype: str
    shape: Annotated[tuple[_Size, ...], msgspec.Meta(max_length=32)]
    data_offsets: tuple[int, int]


def read_header(source: str | os.PathLike[str] | BinaryIO) -> dict[str, TensorInfo]:
    """Returns what the header of a safetensors file, given by its path or opened, says of each tensor, in their order.

    Raises:
        WeightsError: If the file is missing, or is no valid safetensors file.
    """
    try:
        if isinstance(source, (str, os.PathLike)):
            with open_regular(source) as file:
                return _header(file)
        return _header(source)
    except OSError as e:
        what = f"can't read {e.filename}: {e.strerror or e}"
        raise WeightsError(what, "check the path and its permissions") from None


@contextmanager
def read_tensors(file: BinaryIO) -> Iterator[dict[str, Tensor]]:
    """Yields the tensors of an open file whose header was read: views of one memory map, to be copied."""
    with safe_open(_path_of(file), framework="pt") as library:
        yield {name: library.get_tensor(name) for name in library.keys()}  # noqa: SIM118


def _header(file: BinaryIO) -> dict[str, TensorInfo]:
    try:
        file.seek(0)
        length = int.from_bytes(file.read(8), "little")
        if length > MAX_HEADER:
            raise ValueError(f"its header claims {length:,} bytes; at most {MAX_HEADER:,} are allowed")
        header = json.loads(file.read(length).decode(), object_pairs_hook=_unique)
        tensors = msgspec.convert(header, dict[_Name, Any])
        tensors.pop("__metadata__", None)
        if not all(map(str.isprintable, tensors)):
            raise ValueError("a name in it can't be printed")
        infos = msgspec.convert(tensors, dict[str, TensorInfo])
        with safe_open(_path_of(file), framework="np"):
            pass
        return dict(sorted(infos.items(), key=lambda item: item[1].data_offsets))
    except (ValueError, RecursionError, SafetensorError) as e:
        said = ascii(str(e)[:160])[1:-1]
        what = f"{file.name} is no valid safetensors file: {said}"
        raise WeightsError(what, "get the file again; do not trust this one") from None


def _unique(items: list[tuple[str, Any]]) -> dict[str, Any]:
    """Returns a mapping of the header, if nothing is in it twice."""
    found = dict(items)
    if len(found) != len(items):
        raise ValueError("its header names something twice")
    return found


def _path_of(file: BinaryIO) -> str:
    """Returns a path that leads to an open file, whatever its own means by now; the library opens paths only."""
    path = f"/dev/fd/{file.fileno()}"
    return path if os.path.exists(path) else str(file.name)  # Windows keeps an open file in its place
