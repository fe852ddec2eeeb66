"""A real server on loopback for tests, and a client of the standard library."""

from __future__ import annotations

import asyncio
import http.client
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
from dgm_serve.limits import Limits
from dgm_serve.server import Server, listen
from dgm_serve.service import Service


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def floats(self) -> np.ndarray:
        shape = [int(n) for n in self.headers["dgm-shape"].split(",")]
        return np.frombuffer(self.body, "<f4").reshape(shape)

    @property
    def facts(self) -> Any:
        return json.loads(self.headers["dgm-facts"])

    @property
    def events(self) -> list[tuple[str, Any]]:
        blocks = [block.split("\n") for block in self.body.decode().split("\n\n") if block]
        return [(name.removeprefix("event: "), json.loads(data.removeprefix("data: "))) for name, data in blocks]


class Served(NamedTuple):
    """A running server."""

    service: Service
    port: int

    def ask(self, method: str, path: str, body: Any = None, headers: Any = None, *, token: bool = True) -> Answer:
        """Sends one request and returns the whole answer."""

        headers = dict(headers or {})
        if token:
            headers.setdefault("Authorization", f"Bearer {self.service.token}")
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if method == "POST":
            headers.setdefault("Content-Type", "application/json")
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=100)
        try:
            connection.request(method, path, body, headers)
            answer = connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        finally:
            connection.close()

    def get(self, path: str, **ask: Any) -> Answer:
        query = f"?ask={quote(json.dumps(ask))}" if ask else ""
        return self.ask("GET", path + query)

    def post(self, path: str, **body: Any) -> Answer:
        return self.ask("POST", path, body)


@contextmanager
def serving(limits: Limits | None = None, models: str | None = None) -> Iterator[Served]:
    """Runs a server in a thread."""

    with listen("127.0.0.1", 0) as listening:
        port = listening.getsockname()[1]
        service = Service.make(port=port, limits=limits, models=models)
        server = Server(service)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])), daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield Served(service, port)
        finally:
            service.close()
            server.should_exit = True
            thread.join(10)
