"""The header of a safetensors file, checked before any other code sees the file.

The format is eight bytes of little-endian length `N`, `N` bytes of JSON, and the tensors' bytes [1].
Everything that the header says is checked against the file: a file that passes is exactly covered
by tensors of known types that neither overlap nor leave gaps.

References:
    [1] https://huggingface.co/docs/safetensors
"""

from __future__ import annotations

import json
import math
import os
import stat
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec

from ..console import printable
from ..errors import WeightsError

__all__ = ["ITEM_SIZES", "MAX_HEADER", "TensorInfo", "read_header"]

#: Bytes of JSON that a header may have; 10,000 tensors take about one million.
MAX_HEADER = 4_000_000
MAX_DIMENSIONS = 32
MAX_SIZE = 1 << 48
SHOWN = 80  # characters of a name from a file that an error shows

#: Bytes of one number, by type.
ITEM_SIZES = {
    "BOOL": 1,
    "U8": 1,
    "I8": 1,
    "F8_E4M3": 1,
    "F8_E5M2": 1,
    "U16": 2,
    "I16": 2,
    "F16": 2,
    "BF16": 2,
    "U32": 4,
    "I32": 4,
    "F32": 4,
    "U64": 8,
    "I64": 8,
    "F64": 8,
    "C64": 8,
}


class TensorInfo(NamedTuple):
    """What a header says of one tensor; offsets count from the end of the header."""

    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def read_header(path: str | os.PathLike[str]) -> dict[str, TensorInfo]:
    """Returns the tensors of a safetensors file by name, in the order of the file.

    Raises:
        WeightsError: If the file is missing, or is no valid safetensors file.
    """

    path = Path(path)
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():  # a pipe would keep us waiting
            raise _invalid(path, "it is no file")
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            start = file.read(8)
            if len(start) < 8:
                raise _invalid(path, f"{size} bytes are too few for a header")
            length = int.from_bytes(start, "little")
            if length > MAX_HEADER:
                raise _invalid(path, f"its header claims {length:,} bytes; at most {MAX_HEADER:,} are allowed")
            if length > size - 8:
                raise _invalid(path, f"its header claims {length:,} bytes, the file has {size:,}")
            raw = file.read(length)
    except OSError as e:
        raise WeightsError(f"can't read {path}: {e.strerror or e}", "check the path and its permissions") from None
    return _check(path, _parse(path, raw), size - 8 - length)


def _invalid(path: Path, why: str) -> WeightsError:
    return WeightsError(f"{path} is no valid safetensors file: {why}", "get the file again; do not trust this one")


def _parse(path: Path, raw: bytes) -> dict[str, Any]:
    def pairs(items: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(items)
        if len(found) != len(items):
            seen: set[str] = set()
            twice = next(key for key, _ in items if key in seen or seen.add(key))
            raise _invalid(path, f"the header names {printable(twice, SHOWN)} twice")
        return found

    if not raw.startswith(b"{"):
        raise _invalid(path, "its header is no JSON object")
    try:
        raw.decode("utf-8")
        _check_types(raw)  # in C, and it builds nothing large, so that hostile headers are refused at once
        return json.loads(raw, object_pairs_hook=pairs)
    except UnicodeDecodeError:
        raise _invalid(path, "its header is not UTF-8") from None
    except msgspec.ValidationError as e:
        raise _invalid(path, f"in its header, {printable(e, SHOWN)}") from None
    except (ValueError, RecursionError):
        raise _invalid(path, "its header is no valid JSON") from None


class _Info(msgspec.Struct, forbid_unknown_fields=True):
    dtype: str
    shape: Annotated[list[Annotated[int, msgspec.Meta(ge=0, le=MAX_SIZE)]], msgspec.Meta(max_length=MAX_DIMENSIONS)]
    data_offsets: tuple[Annotated[int, msgspec.Meta(ge=0)], Annotated[int, msgspec.Meta(ge=0)]]


def _check_types(raw: bytes) -> None:
    members = msgspec.json.decode(raw, type=dict[str, msgspec.Raw])
    metadata = members.pop("__metadata__", None)
    if metadata is not None:
        msgspec.json.decode(metadata, type=dict[str, str])
    info = msgspec.json.Decoder(_Info)
    for member in members.values():
        info.decode(member)


def _check(path: Path, header: dict[str, Any], available: int) -> dict[str, TensorInfo]:
    header.pop("__metadata__", None)
    tensors = {name: _tensor(path, name, info, available) for name, info in header.items()}
    position = 0
    ordered = sorted(tensors.items(), key=lambda item: item[1][2:])
    for name, info in ordered:
        if info.begin != position:
            word = "overlaps the one before it" if info.begin < position else "leaves a gap before it"
            raise _invalid(path, f"tensor {printable(name, SHOWN)} {word}")
        position = info.end
    if position != available:
        raise _invalid(path, f"its tensors take {position:,} bytes, the file has {available:,} for them")
    return dict(ordered)


def _tensor(path: Path, name: str, info: dict[str, Any], available: int) -> TensorInfo:
    def bad(why: str) -> WeightsError:
        return _invalid(path, f"tensor {printable(name, SHOWN)} {why}")

    if not name or len(name) > 1000 or not name.isprintable():
        raise bad("has no proper name")
    dtype, shape, offsets = info["dtype"], info["shape"], info["data_offsets"]
    if dtype not in ITEM_SIZES:
        raise bad(f"has the unknown type {printable(dtype, SHOWN)}")
    if not offsets[0] <= offsets[1] <= available:
        raise bad("lies outside the file")
    if math.prod(shape) * ITEM_SIZES[dtype] != offsets[1] - offsets[0]:
        raise bad(f"has {offsets[1] - offsets[0]:,} bytes, which do not fit its shape and type")
    return TensorInfo(dtype, tuple(shape), *offsets)
