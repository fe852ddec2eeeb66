"""Files and folders that appear whole or not at all.

What is being written has a hidden name beside its target, and a lock that the system takes back from a process that
dies. So the next run to the same target knows what nobody writes any more, and removes it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import DgmError

__all__ = ["hidden", "replacing", "replacing_folder", "temporary_name", "write_error"]

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

    return path.with_name(f".{path.name[:200]}.{token or os.urandom(4).hex()}.tmp")


def write_error(path: Path, error: OSError) -> DgmError:
    """Returns the error to show when `path` can't be written."""

    what = f"can't write {path}: {error.strerror or error}"
    return DgmError(what, _HINTS.get(error.errno or 0, "choose another place with --out"))


@contextmanager
def hidden(path: str | os.PathLike[str], *, folder: bool = False, token: str | None = None) -> Iterator[Path]:
    """Yields a new, empty, hidden file (or folder) beside `path` that is gone after the block, if it was not renamed.

    What killed processes left of earlier attempts at `path` is removed first.

    Raises:
        OSError: If it can't be made.
    """

    path = Path(path)
    _sweep(path)
    name = temporary_name(path, token)
    lock = None
    try:
        while True:  # until nobody has swept it away between its making and its lock
            if folder:
                name.mkdir()
            else:
                name.touch(exist_ok=False)
            try:
                lock = _lock(name, wait=True)
                break
            except FileNotFoundError:
                continue
        yield name
    finally:
        _remove(name)
        if lock is not None:
            os.close(lock)


def _lock(name: Path, *, wait: bool) -> int | None:
    """Returns a handle that holds the lock of a file or folder; None if another does, or there are no locks.

    Raises:
        FileNotFoundError: If it is not there (any more).
    """

    try:
        import fcntl
    except ImportError:  # a system without such locks
        return None
    handle = os.open(name, os.O_RDONLY if name.is_dir() else os.O_RDWR)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        if os.fstat(handle).st_ino == os.stat(name).st_ino:
            return handle
    except FileNotFoundError:
        os.close(handle)
        raise
    except OSError:  # it is locked, or the file system has no locks
        pass
    os.close(handle)
    return None


def _sweep(path: Path) -> None:
    """Removes what earlier attempts at `path` left behind, except what a living process writes."""

    prefix = f".{path.name[:200]}."
    pattern = re.compile(re.escape(prefix) + r"(part\d+\.)?[0-9a-f]{8}\.tmp")
    with suppress(OSError), os.scandir(path.parent) as items:
        left = [Path(i.path) for i in items if i.name.startswith(prefix) and pattern.fullmatch(i.name)]
        for name in left:
            with suppress(OSError):
                lock = _lock(name, wait=False)
                if lock is not None:
                    _remove(name)
                    os.close(lock)


def _remove(name: Path) -> None:
    if name.is_dir() and not name.is_symlink():
        shutil.rmtree(name, ignore_errors=True)
    else:
        with suppress(OSError):
            name.unlink(missing_ok=True)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yields a file that takes the name `path` if the block succeeds, and vanishes otherwise.

    The folder is made if need be. A file of that name is replaced in one step.

    Raises:
        DgmError: If the file can't be written.
    """

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with hidden(path) as temporary:
            with temporary.open("wb") as file:
                yield file
            os.replace(temporary, path)
    except OSError as e:
        raise write_error(path, e) from e


@contextmanager
def replacing_folder(path: str | os.PathLike[str], *, last: str | None = None) -> Iterator[Path]:
    """Yields an empty folder whose files are in the folder `path` if the block succeeds, and vanish otherwise.

    A new folder appears in one step. One that is there keeps its other files, and those of the same names are
    replaced one by one.

    Arguments:
        path: The folder.
        last: The name of the file that makes the others count, and comes after them.

    Raises:
        DgmError: If the folder can't be written.
    """

    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with hidden(path, folder=True) as stage:
            yield stage
            if not path.exists():
                os.rename(stage, path)
                return
            for file in sorted((p for p in stage.rglob("*") if p.is_file()), key=lambda p: (p.name == last, p)):
                target = path / file.relative_to(stage)
                target.parent.mkdir(parents=True, exist_ok=True)
                os.replace(file, target)
    except OSError as e:
        raise write_error(path, e) from e
