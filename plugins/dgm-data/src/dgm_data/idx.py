"""The idx files of MNIST and Fashion-MNIST, plain (memory-mapped) or gzipped."""

from __future__ import annotations

import gzip
import math
import os
import struct
import zlib
from io import BufferedReader
from pathlib import Path

import numpy as np

from dgmcore.errors import DataError

__all__ = ["read_idx"]

_TYPES = {0x08: ">u1", 0x09: ">i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_LIMIT = 1 << 34


def read_idx(path: str | os.PathLike[str]) -> np.ndarray:
    """Reads one array.

    Raises:
        DataError: If it is no idx file, is truncated, or has bytes after its end.
    """

    path = Path(path)
    try:
        with open(path, "rb") as file:
            zipped = file.read(2) == b"\x1f\x8b"
        with gzip.open(path, "rb") if zipped else open(path, "rb") as file:
            head = file.read(4)
            if len(head) < 4 or head[:2] != b"\0\0" or head[2] not in _TYPES or not 1 <= head[3] <= 8:
                raise DataError(f"{path} is no idx file", "give a file such as train-images-idx3-ubyte.gz")
            sizes = file.read(4 * head[3])
            if len(sizes) < 4 * head[3]:
                raise DataError(f"{path} is truncated", "fetch it again")
            shape = struct.unpack(f">{head[3]}I", sizes)
            kind = np.dtype(_TYPES[head[2]])
            count = math.prod(shape) * kind.itemsize
            if count > _LIMIT:
                raise DataError(f"{path} says that it holds {count} bytes", "check that it is the file you mean")
            if not zipped and path.stat().st_size == file.tell() + count and count:
                return np.memmap(path, kind, "r", file.tell(), shape)
            data = _read(file, count)
            if len(data) < count:
                raise DataError(f"{path} is truncated: {len(data)} of {count} bytes", "fetch it again")
            if file.read(1):
                raise DataError(f"{path} has bytes after its end", "fetch it again")
    except (OSError, EOFError, zlib.error) as e:
        raise DataError(f"{path} can't be read: {e}", "fetch it again") from None
    return np.frombuffer(data, kind).reshape(shape)


def _read(file: gzip.GzipFile | BufferedReader, count: int) -> bytearray:
    """Reads up to `count` bytes, without trusting `count` before they are there."""

    data = bytearray()
    while len(data) < count and (block := file.read(min(count - len(data), 1 << 24))):
        data += block
    return data
