"""Whether a file is what somebody said it is, by its size and sha256; and that it is this file which is then used."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import WeightsError
from . import folders


class Mismatch(WeightsError):
    """A file is not what somebody said it is; `why` says how it differs."""

    def __init__(self, what: str, hint: str = "get the weights again; do not trust this file", why: str = ""):
        super().__init__(what, hint)
        self.why = why


def open_verified(path: str | os.PathLike[str], size: int | None, sha256: str | None) -> BinaryIO:
    """Opens a file of this size and sha256 (None: not known), once: what is read from it is what was hashed.

    A file that nobody else may write is hashed once for each state that it is in (size, times, inode). One that
    others may write is copied to where they can't, and the copy is hashed, every time.

    Raises:
        Mismatch: If it is another file.
        OSError: If it can't be read.
    """
    file = open_regular(path)
    try:
        reason, ours = difference(file, size, None), _only_ours(file)
        if reason is None and sha256 is not None:
            if not ours:
                with file as theirs:
                    file = tempfile.TemporaryFile()  # noqa: SIM115
                    shutil.copyfileobj(theirs, file, 1 << 20)
                file.seek(0)  # all of it is there now
            if not (ours and os.path.exists(_mark(file, sha256))):
                reason = difference(file, size, sha256)
                if reason is None and ours:
                    _remember(file, sha256)
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
        if _only_ours(file):
            _remember(file, sha256)


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


def _only_ours(file: BinaryIO) -> bool:
    """Whether nobody else may change an open file, or what its folder holds."""
    if not hasattr(os, "geteuid"):  # Windows keeps others from an open file
        return True
    states = os.fstat(file.fileno()), os.stat(os.path.dirname(os.path.realpath(file.name)))
    return all(s.st_uid in (0, os.geteuid()) and not s.st_mode & (stat.S_IWGRP | stat.S_IWOTH) for s in states)


def _mark(file: BinaryIO, sha256: str) -> Path:
    """Returns the empty file that stands for an open file, in its state, having been verified."""
    state = os.fstat(file.fileno())
    known = (os.path.realpath(file.name), state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, sha256)
    return folders.user_cache() / "verified" / hashlib.sha256(f"{known}".encode()).hexdigest()


def _remember(file: BinaryIO, sha256: str) -> None:
    """Remembers a verified state. A cache that can't be written costs a verification at the next load, no more."""
    mark = _mark(file, sha256)
    with suppress(OSError):
        mark.parent.mkdir(parents=True, exist_ok=True)
        mark.touch()
