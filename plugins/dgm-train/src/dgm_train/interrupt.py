"""Ctrl-C, SIGTERM and SIGHUP: a run that is asked to stop ends its step and writes a checkpoint."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

__all__ = ["asked_to_stop"]

_SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]


@contextmanager
def asked_to_stop() -> Iterator[threading.Event]:
    """Yields an event that the first of the signals sets; the second one interrupts at once.

    A signal that is ignored stays ignored, so `nohup dgm train` outlives its terminal. In other threads than the main
    one Python takes no signals, and nothing sets the event.
    """

    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    taken = [s for s in _SIGNALS if signal.getsignal(s) not in (signal.SIG_IGN, None)]
    before = {s: signal.signal(s, ask) for s in taken}
    try:
        yield event
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
