"""Reading files whole that come from a user."""

from __future__ import annotations

from pathlib import Path
from typing import IO

from dgmcore.errors import DataError

__all__ = ["read_file", "read_limited"]

_FILE_LIMIT = 1 << 26  # bytes of one file


def read_file(path: Path) -> bytes:
    """Returns what is in a regular file of limited size: never waits for a pipe."""
    try:
        if path.exists() and not path.is_file():
            raise DataError(f"{path} is no regular file", "give a file")
        with open(path, "rb") as file:
            return read_limited(file, str(path))
    except (OSError, ValueError) as e:
        raise DataError(f"{path} can't be read: {getattr(e, 'strerror', None) or e}", "check the path") from None


def read_limited(file: IO[bytes], what: str) -> bytes:
    """Returns what is in an open file, whatever size an archive states for it."""
    data = file.read(_FILE_LIMIT + 1)
    if len(data) > _FILE_LIMIT:
        raise DataError(f"{what} has more than {_FILE_LIMIT} bytes", "make it smaller")
    return data
