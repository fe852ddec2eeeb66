"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import DgmError

__all__ = ["replacing", "temporary_name", "write_error"]


def temporary_name(path: Path) -> Path:
    """Returns a hidden name beside `path` that no other run uses."""

    return path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")


def write_error(path: Path, error: OSError) -> DgmError:
    """Returns the error to show when `path` can't be written."""

    import errno

    hints = {
        errno.ENOSPC: "free some space, or write to another disk with --out",
        errno.EDQUOT: "free some space, or write to another disk with --out",
        errno.EACCES: "choose a folder that you may write to with --out",
        errno.EPERM: "choose a folder that you may write to with --out",
        errno.EROFS: "choose a folder that you may write to with --out",
        errno.EISDIR: "it is a folder; choose a file name with --out",
        errno.ENAMETOOLONG: "choose a shorter name with --out",
    }
    hint = hints.get(error.errno or 0, "choose another place with --out")
    return DgmError(f"can't write {path}: {error.strerror or error}", hint)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yields a file that takes the name `path` if the block succeeds, and vanishes otherwise.

    The folder is made if need be. A file of that name is replaced in one step.

    Raises:
        DgmError: If the file can't be written.
    """

    path = Path(path)
    temporary = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(21, "Is a directory")
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as e:
        raise write_error(path, e) from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
