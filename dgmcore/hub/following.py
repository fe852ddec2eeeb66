"""Hashing a download while it is written, and showing how far it is.

Verifying a file after it has come takes as long again as a fast network took to bring it. Here a thread reads the
growing file behind the client and hashes it. What it found counts only if it read exactly the file that
the client put into its cache, written once from the start to the end; else the file is hashed as usual.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path
from typing import Any

from ..console import progress
from ..errors import WeightsError

__all__ = ["Follower"]

_CHUNK = 1 << 23
_SLACK = 1 << 26
_HINT = "nothing was kept; try again later, or ask its publisher"


class Follower:
    """Follows one download; `bar` is what the client reports its progress to.

    Arguments:
        blobs: The folder where the client writes.
        etag: The name of the file there, before it is complete.
        label: What the progress bar says.
        total: Bytes to come, if known.
    """

    def __init__(self, blobs: Path, etag: str | None, *, label: str, total: int | None):
        self.blobs, self.etag, self.label, self.total = blobs, etag, label, total
        self.digest = hashlib.sha256()
        self.hashed = 0
        self.reported = 0  # bytes of the file
        self.received = 0  # bytes that came, those that came twice included
        self.woken = 0
        self.straight = True  # nothing was written twice
        self.file: Any = None
        self.thread: threading.Thread | None = None
        self.news = threading.Event()
        self.over = False
        follower = self

        class Bar:
            """What `huggingface_hub` takes for a tqdm."""

            def __init__(self, *args: Any, initial: int = 0, **kwargs: Any):
                follower.start(initial)

            def __enter__(self) -> Bar:
                self.shown = progress(follower.label, follower.total, "bytes")
                self.advance = self.shown.__enter__()
                return self

            def __exit__(self, *exc: Any) -> None:
                self.shown.__exit__(None, None, None)

            def update(self, n: float | None = 1) -> None:
                self.advance(n or 0)
                follower.report(int(n or 0))

            def close(self) -> None:
                pass

        self.bar = Bar

    def __enter__(self) -> Follower:
        return self

    def __exit__(self, *exc: Any) -> None:
        self.stop()
        if self.file is not None:
            self.file.close()

    def start(self, initial: int) -> None:
        """Begins to read behind a download; a second one of the same call is not followed."""

        if self.thread is not None or self.etag is None:
            self.straight = False
            return
        growing = list(self.blobs.glob(f"{self.etag}*.incomplete"))
        self.reported = initial
        if len(growing) == 1:
            self.file = growing[0].open("rb", buffering=0)
            self.thread = threading.Thread(target=self.follow, daemon=True)
            self.thread.start()

    def report(self, n: int) -> None:
        """Hears from the client that `n` more bytes are there (or fewer, if it starts again).

        Raises:
            WeightsError: If the server sends more than it announced, or the same bytes again and again; the client
                would go on for ever.
        """

        self.straight &= n >= 0
        self.reported += n
        self.received += max(n, 0)
        if self.total is not None and (self.reported > self.total or self.received > 3 * self.total + _SLACK):
            raise WeightsError(
                f"the server sends more of {self.label} than the {self.total:,} bytes it announced", _HINT
            )
        if self.reported - self.woken >= _CHUNK:  # rarely, as every turn of the other thread holds this one up
            self.woken = self.reported
            self.news.set()

    def follow(self) -> None:
        buffer = bytearray(_CHUNK)
        view = memoryview(buffer)
        while True:
            over = self.over
            while n := self.file.readinto(buffer):
                self.digest.update(view[:n])
                self.hashed += n
            if over:
                return
            self.news.wait()
            self.news.clear()

    def stop(self) -> None:
        """Reads to the end and stops."""

        self.over = True
        self.news.set()
        if self.thread is not None:
            self.thread.join()

    def sha256_of(self, path: Path) -> str | None:
        """Returns the sha256 of the finished file, if it is the one that was followed all the way."""

        self.stop()
        if self.file is None or not self.straight:
            return None
        here, there = os.fstat(self.file.fileno()), path.stat()
        same = (here.st_dev, here.st_ino) == (there.st_dev, there.st_ino)
        if same and self.hashed == self.reported == there.st_size:
            return self.digest.hexdigest()
        return None
