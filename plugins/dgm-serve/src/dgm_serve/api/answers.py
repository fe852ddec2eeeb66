"""Answers: raw numbers with their shape in the headers, and server-sent events."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from dgmcore.errors import DgmError

from ..work import Stopped
from .asking import service_of

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

__all__ = ["encoded", "events", "floats", "window"]


def floats(x: Tensor | np.ndarray, **facts: Any) -> Response:
    """Returns numbers as little-endian float32 in C order; the headers have `dgm-shape` and JSON `dgm-facts`."""

    array = _array(x)
    facts = window(array) | facts
    headers = {"dgm-shape": ",".join(map(str, array.shape)), "dgm-facts": json.dumps(facts)}
    return Response(array.astype("<f4").tobytes(), headers=headers, media_type="application/octet-stream")


def window(x: Tensor | np.ndarray) -> dict[str, Any]:
    """Returns of points `(n, 2)` the square around them, which a few that are far away do not make large."""

    from dgmcore.sampling.pictures.scatter import window_of

    array = _array(x)
    return {"window": window_of(array, 0.1)._asdict()} if array.ndim == 2 and array.shape[1] == 2 else {}


def encoded(x: Tensor | np.ndarray) -> str:
    """Returns numbers as base64 of little-endian float32, for events."""

    return base64.b64encode(_array(x).astype("<f4").tobytes()).decode()


def _array(x: Tensor | np.ndarray) -> np.ndarray:
    import numpy as np

    return np.ascontiguousarray(x if isinstance(x, np.ndarray) else x.detach().cpu().float().numpy())


async def events(request: Request, items: Any) -> Response:
    """Returns server-sent events: of each `(name, data)` that `items()` yields in a thread, the data as JSON.

    What goes wrong before the first of them is raised; after it, it is an event `error`.
    """

    stream = service_of(request).desk.stream(request, items)
    first = await anext(stream, None)
    return StreamingResponse(_lines(first, stream), media_type="text/event-stream")


async def _lines(first: tuple[str, Any] | None, stream: AsyncIterator[tuple[str, Any]]) -> AsyncIterator[bytes]:
    try:
        if first is not None:
            yield _event(*first)
        async for name, data in stream:
            yield _event(name, data)
        yield _event("end", {})
    except Stopped:
        return
    except DgmError as e:
        yield _event("error", {"error": e.what, "hint": e.hint})


def _event(name: str, data: Any) -> bytes:
    return f"event: {name}\ndata: {json.dumps(data)}\n\n".encode()
