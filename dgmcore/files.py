"""Files and folders that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from .errors import DgmError

__all__ = ["replacing", "replacing_folder", "temporary_name", "write_error"]

_SPACE = "free some space, or write to another disk with --out"
_RIGHTS = "choose a folder that you may write to with --out"
_HINTS = {
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: _SPACE,
    errno.EFBIG: _SPACE,
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EROFS: _RIGHTS,
    errno.EISDIR: "it is a folder: choose the name of a file with --out",
    errno.ENOTDIR: "it is, or lies in, a file: choose another name with --out",
    errno.ENAMETOOLONG: "choose a shorter name with --out",
}


def temporary_name(path: Path, token: str | None = None) -> Path:
    """Returns a hidden name beside `path` that no other run uses."""

    return path.with_name(f".{path.name[:200]}.{token or secrets.token_hex(4)}.tmp")


def write_error(path: Path, error: OSError) -> DgmError:
    """Returns the error to show when `path` can't be written."""

    what = f"can't write {path}: {error.strerror or error}"
    return DgmError(what, _HINTS.get(error.errno or 0, "choose another place with --out"))


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
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with temporary.open("xb") as file:
            yield file
        os.replace(temporary, path)
    except OSError as e:
        raise write_error(path, e) from e
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


@contextmanager
def replacing_folder(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Yields an empty folder whose files are in the folder `path` if the block succeeds, and vanish otherwise.

    A folder of that name keeps its other files.

    Raises:
        DgmError: If the folder can't be written.
    """

    path = Path(path)
    stage = temporary_name(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        stage.mkdir()
        yield stage
        if path.exists():
            for file in sorted(stage.iterdir()):
                os.replace(file, path / file.name)
        else:
            os.rename(stage, path)
    except OSError as e:
        raise write_error(path, e) from e
    finally:
        shutil.rmtree(stage, ignore_errors=True)
