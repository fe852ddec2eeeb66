"""Locks between processes, which the system takes back from those that die."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def locked(path: str | os.PathLike[str], *, wait: bool = True) -> Iterator[bool]:
    """Holds a lock for the block, and yields whether it does.

    Arguments:
        path: A file that is there for the lock alone; made if need be, and left.
        wait: Whether to wait for another that holds it. If not, the block runs without it.

    Raises:
        OSError: If the file can't be made.
    """
    from filelock import FileLock, Timeout  # 20 ms, and most commands lock nothing

    lock = FileLock(path, timeout=-1 if wait else 0)
    try:
        lock.acquire()
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()
