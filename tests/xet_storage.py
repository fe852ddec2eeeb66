"""Xet storage on the loopback interface, as far as the real `hf_xet` needs one.

Two services at one address that is not the Hub's, as of the public Hub: a content-addressed store (`/v1/...`), which
gives files in chunks to whoever has a token that the Hub gave for it, and the bridge (`/xet-bridge/...`), which gives
whole files over plain HTTP to whoever has the address. Protocol: https://huggingface.co/docs/xet.
"""

from __future__ import annotations

import hashlib
import json
import re
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import NamedTuple

TOKEN = "a token of the storage"
CHUNK = 1 << 17  # bytes of the largest chunk


class Xorb(NamedTuple):
    """Chunks behind each other, each with its header; here those of one file."""

    packed: bytes
    chunks: int
    size: int  #: of the file


class XetStorage:
    """The storage; use it as a context manager. `cas` is the address of the store that the Hub tells clients."""

    def __init__(self) -> None:
        self.xorbs: dict[str, Xorb] = {}
        self.plain: dict[str, bytes] = {}  #: whole files by sha256
        self.hashes: dict[str, str] = {}  #: the hash here by sha256
        self.requests: list[tuple[str, str]] = []
        storage = self

        class BoundHandler(Handler):
            server_storage = storage

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), BoundHandler)
        self.url = self.cas = f"http://127.0.0.1:{self.http.server_address[1]}"
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> XetStorage:
        self.thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self.http.shutdown()
        self.http.server_close()

    def add(self, data: bytes, sha256: str) -> None:
        """Stores a file in chunks that are not compressed."""
        xet = hashlib.sha256(b"xet" + data).hexdigest()  # clients believe it, whatever it is
        chunks = [data[i : i + CHUNK] for i in range(0, len(data), CHUNK)]
        self.xorbs[xet] = Xorb(b"".join(_header(len(c)) + c for c in chunks), len(chunks), len(data))
        self.plain[sha256], self.hashes[sha256] = data, xet

    def headers(self, hub: str, repo: str, commit: str, sha256: str, file: str) -> dict[str, str]:
        """Returns what the Hub says of a file that is here, beside its size and its names."""
        xet = self.hashes[sha256]
        auth, parts = f"{hub}/api/models/{repo}/xet-read-token/{commit}", f"{self.cas}/v1/reconstructions/{xet}"
        return {
            "X-Xet-Hash": xet,
            "Link": f'<{auth}>; rel="xet-auth", <{parts}>; rel="xet-reconstruction-info"',
            "Location": f"{self.url}/xet-bridge/{sha256}/{file}?X-Amz-Expires=3600",
        }

    def token(self) -> dict[str, str]:
        """Returns the headers in which the Hub answers who asks for a token."""
        until = str(int(time.time()) + 3600)
        return {"X-Xet-Cas-Url": self.cas, "X-Xet-Access-Token": TOKEN, "X-Xet-Token-Expiration": until}


def _header(size: int) -> bytes:
    """Returns the header of a chunk that is not compressed."""
    return b"\0" + size.to_bytes(3, "little") + b"\0" + size.to_bytes(3, "little")


class Handler(BaseHTTPRequestHandler):
    server_storage: XetStorage
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def route(self):
        storage, path = self.server_storage, self.path.partition("?")[0]
        storage.requests.append((self.command, path))
        for method, pattern, token, answer in ROUTES:
            found = re.fullmatch(pattern, path)
            if found and self.command in method:
                if self.headers.get("Authorization", "").removeprefix("Bearer ") != token:
                    return self.answer(401, b"")  # the Hub's own token is none here, and none of our business
                with suppress(ConnectionError):
                    return answer(self, *found.groups())
                return None
        return self.answer(404, b"")

    do_GET = do_HEAD = do_POST = do_PUT = route

    def answer(self, status: int, body: bytes, headers: dict[str, str] | None = None):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def send_bytes(self, data: bytes):
        asked = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if not asked:
            return self.answer(200, data)
        start, end = int(asked[1]), min(int(asked[2] or len(data)), len(data) - 1)
        return self.answer(206, data[start : end + 1], {"Content-Range": f"bytes {start}-{end}/{len(data)}"})

    def bridge(self, sha256: str):
        self.send_bytes(self.server_storage.plain[sha256])

    def reconstruction(self, xet: str):
        storage = self.server_storage
        if xet not in storage.xorbs:
            return self.answer(404, b"")
        xorb, n, size = storage.xorbs[xet]
        chunks = {"start": 0, "end": n}
        place = {"range": chunks, "url": f"{storage.url}/xorbs/{xet}", "url_range": {"start": 0, "end": len(xorb) - 1}}
        term = {"hash": xet, "unpacked_length": size, "range": chunks}
        found = {"offset_into_first_range": 0, "terms": [term], "fetch_info": {xet: [place]}}
        return self.answer(200, json.dumps(found).encode())

    def xorb(self, xet: str):
        self.send_bytes(self.server_storage.xorbs[xet].packed)


_HASH = r"([0-9a-f]{64})"
ROUTES = [
    ("GET HEAD", rf"/xet-bridge/{_HASH}/.+", "", Handler.bridge),
    ("GET", rf"/xorbs/{_HASH}", "", Handler.xorb),
    ("GET", rf"/v1/reconstructions/{_HASH}", TOKEN, Handler.reconstruction),
]
