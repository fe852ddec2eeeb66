"""The application: routes, what goes wrong as two lines of JSON, and the guard before all of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from dgmcore.console import warn
from dgmcore.errors import DgmError
from dgmcore.suggestions import did_you_mean

from .api import given, judging, latent, models, samples, training
from .catalog import Unknown
from .guard import Guard, refusal
from .service import Service
from .work import Busy, Stopped, TooLong

__all__ = ["PAGE", "make_app"]

PAGE = Path(__file__).parent / "page"

API = [
    Route("/api/models", models.models),
    Route("/api/models/{name:path}", models.model),
    Route("/api/pictures/{name:path}", models.picture),
    Route("/api/pull", models.pull),
    Route("/api/sample", samples.sample, methods=["POST"]),
    Route("/api/trajectory", samples.trajectory),
    Route("/api/score", judging.score, methods=["POST"]),
    Route("/api/density", judging.density, methods=["POST"]),
    Route("/api/reconstruct", judging.reconstruct, methods=["POST"]),
    Route("/api/latent", latent.latent, methods=["POST"]),
    Route("/api/push", latent.push, methods=["POST"]),
    Route("/api/walk", latent.walk, methods=["POST"]),
    Route("/api/given", given.given, methods=["POST"]),
    Route("/api/train", training.begin, methods=["POST"]),
    Route("/api/train/{run}", training.go_on),
]


def make_app(service: Service) -> Starlette:
    """Returns the application of a service."""

    app = Starlette(
        routes=[*API, Mount("/", StaticFiles(directory=PAGE, html=True))],
        middleware=[
            Middleware(Guard, token=service.token, host=service.host, port=service.port, limits=service.limits)
        ],
        exception_handlers={
            DgmError: _said,
            HTTPException: _no_route,
            Stopped: _nobody_waits,
            MemoryError: _no_memory,
            Exception: _bug,
        },
        lifespan=_living,
    )
    app.state.service = service
    return app


@asynccontextmanager
async def _living(app: Starlette) -> AsyncIterator[None]:
    service: Service = app.state.service

    async def tidy() -> None:
        while True:
            await asyncio.sleep(30)
            service.shelf.tidy()
            service.runs.tidy()

    task = asyncio.create_task(tidy())
    yield
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    service.close()


def _said(request: Request, error: Exception) -> Response:
    assert isinstance(error, DgmError)
    status = 404 if isinstance(error, Unknown) else 503 if isinstance(error, Busy | TooLong) else 400
    return refusal(status, error.what, error.hint)


def _no_route(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    if error.status_code == 404:
        known = [route.path for route in API]
        return refusal(404, f"there is nothing at {request.url.path:.100}", did_you_mean(request.url.path[:100], known))
    return refusal(error.status_code, error.detail, "see docs/serve.md")


def _nobody_waits(request: Request, error: Exception) -> Response:
    return refusal(499, "the client has left, or the server ends", "ask again")


def _no_memory(request: Request, error: Exception) -> Response:
    return refusal(507, "there is not enough memory for that", "ask for less")


def _bug(request: Request, error: Exception) -> Response:
    what = f"{type(error).__name__}: {error}"
    warn(f"{request.url.path}: {what[:500]}")
    return refusal(500, what[:500], "this is a bug of the model's plugin, or of dgm-serve")
