"""uvicorn with what a server at home lacks: clients that dawdle are left, and Ctrl-C ends it within a second."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from dgmcore.errors import DgmError

from .app import make_app
from .limits import Limits
from .service import Service

__all__ = ["Server", "listen"]


def listen(host: str, port: int) -> socket.socket:
    """Returns a socket that listens; port 0 takes any that is free.

    Raises:
        DgmError: If it can't.
    """

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as e:
        hint = "choose another with --port, or any with --port 0" if port else "choose another --host"
        raise DgmError(f"can't listen at {host}, port {port}: {e.strerror or e}", hint) from None
    except OverflowError:
        raise DgmError(f"there is no port {port}", "choose one from 0 to 65535") from None


class _Patient(H11Protocol):
    """A connection that is closed if no request comes, the longest idle one first when there are too many."""

    limits = Limits()

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # asyncio does so where it made the listening socket; else each answer waits 40 ms for an acknowledgement
        transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._wait()
        self.born = self.loop.time()
        there = [c for c in self.connections if isinstance(c, _Patient) and not c.transport.is_closing()]
        if len(there) > self.limits.connections:
            min((c for c in there if c.is_idle()), key=lambda c: c.born).transport.close()

    def _wait(self) -> None:
        self._timer = self.loop.call_later(self.limits.patience, self._leave_if_idle)

    def data_received(self, data: bytes) -> None:
        if self._timer.cancelled() and self.is_idle():  # the next request on a connection that is kept
            self._wait()
        super().data_received(data)
        if not self.is_idle():
            self._timer.cancel()

    def connection_lost(self, exc: Exception | None) -> None:
        self._timer.cancel()
        super().connection_lost(exc)

    def is_idle(self) -> bool:
        """Whether no request of this client is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _leave_if_idle(self) -> None:
        if self.is_idle():
            self.transport.close()


class Server(uvicorn.Server):
    """The server of a service; a signal ends the work of all threads first.

    Arguments:
        service: What it serves.
        on_start: Called when it answers.
    """

    def __init__(self, service: Service, on_start: Callable[[], Any] = lambda: None):
        self.service, self.on_start = service, on_start
        protocol = type("Patient", (_Patient,), {"limits": service.limits})
        config = uvicorn.Config(
            make_app(service),
            http=protocol,
            ws="none",
            loop="asyncio",
            lifespan="on",
            log_config=None,
            log_level="critical",  # what goes wrong with a request is in its answer
            access_log=False,
            server_header=False,
            timeout_keep_alive=15,
            timeout_graceful_shutdown=0,
            h11_max_incomplete_event_size=32_768,
        )
        super().__init__(config)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.on_start()

    def handle_exit(self, sig: int, frame: Any) -> None:
        self.service.close()
        super().handle_exit(sig, frame)

    def serve_until_stopped(self, listening: socket.socket) -> None:
        """Serves until a signal ends it."""

        with suppress(KeyboardInterrupt):  # which uvicorn raises again when it has ended
            asyncio.run(self.serve(sockets=[listening]))
