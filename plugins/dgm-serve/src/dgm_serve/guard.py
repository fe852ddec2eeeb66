"""What a request has to be before anything looks at it: for this host, from this page, with the token, and short."""

from __future__ import annotations

import hmac
import ipaddress
import json
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, QueryParams
from starlette.responses import RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from .limits import Limits

__all__ = ["Guard", "refusal"]

POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """Refuses requests of strangers, and of web sites that a user happens to visit.

    Arguments:
        app: What answers the others.
        token: What says that a request is the user's: in the address, a cookie, or `Authorization: Bearer`.
        host: The address or name at which the server listens; others in a request's `Host` are those of a web site
            whose name was made to mean this machine (DNS rebinding).
        port: Its port, which names the cookie: cookies don't know ports.
        limits: Of a request's body, and the time that it may take to arrive.
    """

    def __init__(self, app: ASGIApp, token: str, host: str, port: int, limits: Limits):
        self.app, self.token, self.host, self.limits = app, token, host, limits
        self.cookie = f"dgm-{port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        send = _with_headers(send)
        headers, query = Headers(scope=scope), QueryParams(scope["query_string"])
        answer = self._refused(scope, headers, query)
        if answer is None and scope["path"] == "/" and "token" in query:
            answer = RedirectResponse("/", 303)  # which leaves the token out of the address, and keeps its #fragment
            answer.set_cookie(self.cookie, self.token, httponly=True, samesite="strict", path="/")
        body = b""
        if answer is None and scope["method"] == "POST":
            body, answer = await self._body(headers, receive)
        if answer is not None:
            await answer(scope, receive, send)
            return
        await self.app(scope, _given(body, receive), send)

    def _refused(self, scope: Scope, headers: Headers, query: QueryParams) -> Response | None:
        """Returns the answer to a request that is none of the user's, if it is none."""

        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            return refusal(403, "this server is not called that", "open the address that dgm serve printed")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return refusal(403, "the request is another web site's", "open the address that dgm serve printed")
        if not self._knows_token(headers, query):
            return _locked(scope["path"])
        if scope["method"] not in ("GET", "HEAD", "POST"):
            return refusal(405, f"nothing is done by {scope['method'][:20]}", "use GET or POST")
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        return name in ("localhost", self.host.lower()) or _is_address(name, loopback=_is_address(self.host, True))

    def _knows_token(self, headers: Headers, query: QueryParams) -> bool:
        given = [query.get("token", "")]
        scheme, _, bearer = headers.get("authorization", "").partition(" ")
        if scheme.lower() == "bearer":
            given.append(bearer.strip())
        try:
            morsel = SimpleCookie(headers.get("cookie", "")).get(self.cookie)
        except CookieError:
            morsel = None
        given += [morsel.value] if morsel is not None else []
        return any(hmac.compare_digest(text.encode(), self.token.encode()) for text in given)

    async def _body(self, headers: Headers, receive: Receive) -> tuple[bytes, Response | None]:
        """Returns the body of a request, or why it is not read."""

        if headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return b"", refusal(415, "the request is no JSON", "send it with Content-Type: application/json")
        large = refusal(413, "the request is too large", f"send at most {self.limits.body:,} bytes")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > self.limits.body:
            return b"", large
        body = bytearray()
        with anyio.move_on_after(self.limits.patience):
            while True:
                message = await receive()
                body += message.get("body", b"")
                if len(body) > self.limits.body:
                    return b"", large
                if message["type"] != "http.request" or not message.get("more_body"):
                    return bytes(body), None
        return b"", refusal(408, "the request came too slowly", "send it at once")


def refusal(status: int, what: str, hint: str, **more: Any) -> Response:
    """Returns an error as this API says it: JSON with the two lines `error` and `hint`."""

    line = "".join(c if c.isprintable() else "?" for c in what)  # it may quote the request
    text = json.dumps({"error": line, "hint": hint, **more})
    return Response(text, status, headers={"connection": "close"}, media_type="application/json")


def _locked(path: str) -> Response:
    what, hint = "the token is missing or wrong", "open the address that dgm serve printed: it has the token"
    if path.startswith("/api/"):
        return refusal(401, what, hint)
    text = f"<!doctype html><meta charset=utf-8><title>dgm serve</title><h1>{what.capitalize()}</h1><p>{hint}.</p>"
    return Response(text, 401, headers={"connection": "close"}, media_type="text/html")


def _is_address(name: str, loopback: bool) -> bool:
    try:
        address = ipaddress.ip_address(name)
    except ValueError:
        return loopback and name == "localhost"
    return address.is_loopback or not loopback


def _with_headers(send: Send) -> Send:
    async def with_headers(message: Message) -> None:
        if message["type"] == "http.response.start":
            known = {name.lower() for name, _ in message["headers"]}
            extra = HEADERS if b"cache-control" in known else {**HEADERS, "cache-control": "no-store"}
            message["headers"] = [*message["headers"], *((k.encode(), v.encode()) for k, v in extra.items())]
        await send(message)

    return with_headers


def _given(body: bytes, receive: Receive) -> Receive:
    """Gives the body that was read already, and after it what the client says: that it has left."""

    given = False

    async def first_body() -> Message:
        nonlocal given
        if not given:
            given = True
            return {"type": "http.request", "body": body, "more_body": False}
        return await receive()

    return first_body
