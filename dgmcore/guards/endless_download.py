"""Downloads end: more bytes than there can be, or hours for a few, are an error."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from tqdm import tqdm  # type: ignore[import-untyped]

from ..errors import WeightsError

__all__ = ["Meter", "within"]

#: A download may take ten minutes, and a second for so many bytes.
SLOWEST = 10_000
ANSWER = 120.0  # seconds that an answer may take, however steadily it comes
T = TypeVar("T")


def within(seconds: float | None, call: Callable[[], T]) -> T:
    """Waits no longer than so many seconds: the client's own timeouts are those between two bytes."""
    answer: Future[T] = Future()

    def work() -> None:
        try:
            answer.set_result(call())
        except BaseException as e:
            answer.set_exception(e)

    threading.Thread(target=work, daemon=True).start()
    return answer.result(seconds or ANSWER)


class Meter:
    """Counts the bytes of a download, shows them, and ends one that would never end."""

    def __init__(self, label: str, limit: int, advance: Callable[[float], None] = lambda n: None):
        self.label, self.limit, self.advance = label, limit, advance
        self.received = 0.0
        self.deadline = time.monotonic() + 600 + limit / SLOWEST

    def __call__(self, n: float) -> None:
        """Hears that `n` more bytes are there, or fewer where the client starts again.

        Raises:
            WeightsError: If much more has come than there is, or it takes too long.
        """
        self.received += max(n, 0)
        if self.received > 3 * self.limit + (1 << 20):
            what = f"the server sends more of {self.label} than the {self.limit:,} bytes that it may have"
            raise WeightsError(what, "nothing was kept; try again later, or ask its publisher")
        if time.monotonic() > self.deadline:
            what = f"{self.label} comes so slowly that it would not end"
            raise WeightsError(what, "nothing was kept; try again with a faster network")
        self.advance(n)

    def bar(self) -> type[Any]:
        """Returns a class for what the client reports its progress to: a `tqdm` that shows nothing, and counts.

        Of a file in Xet storage the client reports twice, what came and what was written, or to one bar that can
        take both.
        """
        count = self

        class Bar(tqdm):  # type: ignore[misc]
            def __init__(self, *args: Any, **kwargs: Any):
                super().__init__(disable=True, total=kwargs.get("total"))

            def update(self, n: float | None = 1) -> None:
                count(n or 0)

            def update_transfer(self, n: float) -> None:
                pass

            def set_transfer_postfix_str(self, text: str, refresh: bool = True) -> None:
                pass

        return Bar
