"""Work in threads: bounded, in a queue, ended when the client leaves or time is up."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, TypeVar

import anyio
from anyio import from_thread, to_thread
from starlette.requests import Request

from dgmcore.errors import DgmError

from .limits import Limits

__all__ = ["Busy", "Desk", "Stopped", "TooLong", "check_stop"]

T = TypeVar("T")


class Stopped(Exception):
    """The client has left, or the server ends: nobody waits for the answer."""


class TooLong(DgmError):
    """A request's work took longer than it may."""


class Busy(DgmError):
    """Too many requests wait already."""


class _Stop:
    """Says to a thread that its work is to end."""

    def __init__(self, seconds: float, stream: bool):
        self.asked, self.stream = threading.Event(), stream
        self.seconds, self.deadline = seconds, time.monotonic() + seconds

    def check(self) -> None:
        if self.asked.is_set():
            raise Stopped
        if time.monotonic() > self.deadline:
            raise TooLong(f"this took longer than {self.seconds:g} seconds", "ask for fewer samples or steps")


_CURRENT: ContextVar[_Stop | None] = ContextVar("stop", default=None)


def check_stop(*args: Any) -> None:
    """Ends the work of this thread if nobody waits for it; the modules of loaded models call it before they run.

    Raises:
        Stopped: If the client has left.
        TooLong: If time is up.
    """

    stop = _CURRENT.get()
    if stop is not None:
        stop.check()


class Desk:
    """Where requests' work is done: a few threads, and a queue that is not endless."""

    def __init__(self, limits: Limits):
        self.limits = limits
        self.running: set[_Stop] = set()
        self.closed = False
        self._places: dict[bool, anyio.CapacityLimiter] = {}

    async def run(self, request: Request, job: Callable[[], T]) -> T:
        """Does a job in a thread and returns its result; what it raises is raised.

        The request's body must have been read.

        Raises:
            Stopped: If the client leaves first.
            TooLong: If it takes too long.
            Busy: If too many wait already.
        """

        with self._working(stream=False) as stop:
            async with anyio.create_task_group() as group:
                group.start_soon(self._watch, request, stop)
                try:
                    result = await to_thread.run_sync(job, limiter=self._limiter(stream=False))
                except Exception as e:
                    raised: Exception | None = e
                else:
                    raised = None
                group.cancel_scope.cancel()
            if raised is not None:
                raise raised
            return result

    async def stream(self, request: Request, items: Callable[[], Iterator[T]]) -> AsyncIterator[T]:
        """Yields what an iterator yields in a thread; it waits for whoever takes them, but not for ever."""

        with self._working(stream=True) as stop:
            send, receive = anyio.create_memory_object_stream[T](4)

            async def give(item: T) -> None:
                with anyio.move_on_after(self.limits.patience) as waited:
                    await send.send(item)
                if waited.cancelled_caught:
                    raise Stopped

            def work() -> None:
                for item in items():
                    stop.check()
                    from_thread.run(give, item)

            failed: list[Exception] = []

            async def produce() -> None:
                try:
                    await to_thread.run_sync(work, limiter=self._limiter(stream=True))
                except (anyio.BrokenResourceError, anyio.ClosedResourceError, Stopped):
                    pass  # nobody takes them any more
                except Exception as e:
                    failed.append(e)
                finally:
                    send.close()

            # no task group: what takes the first item, and the rest, are two tasks
            tasks = [asyncio.create_task(produce()), asyncio.create_task(self._watch(request, stop))]
            try:
                async with receive:
                    async for item in receive:
                        yield item
            finally:
                stop.asked.set()
                tasks[1].cancel()
            if failed:
                raise failed[0]

    def close(self) -> None:
        """Ends all work."""

        self.closed = True
        for stop in self.running:
            stop.asked.set()

    @contextmanager
    def _working(self, *, stream: bool) -> Iterator[_Stop]:
        alike = sum(other.stream == stream for other in self.running)
        if alike >= self.limits.workers + self.limits.waiting:
            raise Busy("the server is busy", "try again in a moment")
        stop = _Stop(self.limits.seconds, stream)
        if self.closed:
            stop.asked.set()
        self.running.add(stop)
        token = _CURRENT.set(stop)
        try:
            yield stop
        finally:
            stop.asked.set()
            self.running.discard(stop)
            with suppress(ValueError):  # a generator may be closed in another context than it began in
                _CURRENT.reset(token)

    async def _watch(self, request: Request, stop: _Stop) -> None:
        while True:
            message = await request.receive()
            if message["type"] == "http.disconnect":
                stop.asked.set()
                return

    def _limiter(self, *, stream: bool) -> anyio.CapacityLimiter:
        """Places of their own for streams: trajectories and training that are left open keep no sample waiting."""

        if stream not in self._places:  # it belongs to the running loop
            self._places[stream] = anyio.CapacityLimiter(self.limits.workers)
        return self._places[stream]
