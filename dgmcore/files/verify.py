"""Whether a file is what somebody said it is, by its size and sha256; and that it is this file which is then used."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import sys
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import WeightsError
from . import folders

SMALL = 1 << 20  # bytes that are copied and hashed in no time: in 2 ms


class Mismatch(WeightsError):
    """A file is not what somebody said it is; `why` says how it differs."""

    def __init__(self, what: str, hint: str = "get the weights again; do not trust this file", why: str = ""):
        super().__init__(what, hint)
        self.why = why


def open_verified(path: str | os.PathLike[str], size: int | None, sha256: str | None) -> BinaryIO:
    """Opens a file of this size and sha256 (None: not known), once: what is read from it is what was hashed.

    A small file, and one that others may write, is copied to where nobody can, and the copy is hashed, every time. A
    large one that nobody else may write is hashed once for each state that it is in (size, times, inode).

    Raises:
        Mismatch: If it is another file.
        OSError: If it can't be read.
    """
    file = open_regular(path)
    try:
        reason = difference(file, size, None)
        if reason is None and sha256 is not None:
            mark = _mark(file, sha256)  # before it is hashed: it may change meanwhile
            if mark is None:
                with file as original:
                    memory = os.fstat(original.fileno()).st_size <= SMALL and sys.platform == "linux"
                    file = open(os.memfd_create("weights"), "w+b") if memory else tempfile.TemporaryFile()  # noqa: SIM115
                    shutil.copyfileobj(original, file, 1 << 20)
                file.seek(0)  # all of it is there now
            if mark is None or not mark.exists():
                reason = difference(file, size, sha256)
                if reason is None:
                    _remember(mark)
        if reason is not None:
            raise Mismatch(f"{os.fspath(path)} is not what its entry describes: {reason}", why=reason)
    except BaseException:
        file.close()
        raise
    return file


def difference(file: BinaryIO, size: int | None, sha256: str | None) -> str | None:
    """Returns how an open file differs from what was said of it, or None; it is read from its beginning."""
    found = os.fstat(file.fileno()).st_size
    if size is not None and found != size:
        return f"it has {found:,} bytes, not {size:,}"
    if sha256 is None:
        return None
    file.seek(0)
    digest = sha256_of(file)
    file.seek(0)
    return None if digest == sha256 else f"its sha256 is {digest[:12]}..., not {sha256[:12]}..."


def remember(path: str | os.PathLike[str], sha256: str) -> None:
    """Remembers that a file was verified in the state in which it is now."""
    with open_regular(path) as file:
        _remember(_mark(file, sha256))


def sha256_of(source: str | os.PathLike[str] | BinaryIO) -> str:
    """Returns the sha256 of a file, in hexadecimal; of an open one what comes from here on."""
    if isinstance(source, (str, os.PathLike)):
        with open(source, "rb") as file:
            return sha256_of(file)
    return hashlib.file_digest(source, "sha256").hexdigest()  # type: ignore[arg-type]


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Opens a file for reading; raises an OSError for a pipe or device, which would keep us waiting, or never end."""
    flag = getattr(os, "O_NONBLOCK", 0)  # a pipe is opened at once
    file = open(path, "rb", opener=lambda name, flags: os.open(name, flags | flag))  # noqa: SIM115
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "it is not a file", os.fspath(path))
    return file


def _only_ours(state: os.stat_result) -> bool:
    """Whether nobody else may change a file, or what a folder holds."""
    if not hasattr(os, "geteuid"):  # Windows keeps others from an open file
        return True
    return state.st_uid in (0, os.geteuid()) and not state.st_mode & (stat.S_IWGRP | stat.S_IWOTH)


def _mark(file: BinaryIO, sha256: str) -> Path | None:
    """Returns the empty file that says that an open file was verified in its state; None for those that are copied."""
    state, path = os.fstat(file.fileno()), os.path.realpath(file.name)
    if state.st_size <= SMALL or not (_only_ours(state) and _only_ours(os.stat(os.path.dirname(path)))):
        return None
    known = (path, state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, sha256)
    return folders.user_cache() / "verified" / hashlib.sha256(f"{known}".encode()).hexdigest()


def _remember(mark: Path | None) -> None:
    """Remembers a verified state. A cache that can't be written costs a verification at the next load, no more."""
    with suppress(OSError):
        if mark is not None:
            mark.parent.mkdir(parents=True, exist_ok=True)
            mark.touch()
