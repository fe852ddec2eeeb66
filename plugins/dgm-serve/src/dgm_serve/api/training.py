"""Training on points that a user draws: `POST /api/train` begins a run, `GET /api/train/{run}` goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dgmcore.config import Config, Positive, Real
from dgmcore.errors import UsageError

from ..shown.words import train_words
from .answers import events
from .asking import read, service_of

__all__ = ["begin", "go_on"]

SLICE, MOST = 100, 20_000  # steps


class AskTraining(Config):
    """A model of the plane to train anew, from random weights, on points."""

    model: str
    points: Annotated[list[tuple[Real, Real]], msgspec.Meta(min_length=8, max_length=5_000)]
    phase: str | None = None
    learning_rate: Positive = 1e-3
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**53)] = 0


async def begin(request: Request) -> Response:
    """Begins a run, which waits to be gone on with; returns its name."""

    service, ask = service_of(request), await read(request, AskTraining)

    def work() -> Response:
        entry = service.catalog.model(ask.model)
        if entry["event_shape"] != [2] or not entry["phases"]:
            raise UsageError(f"{ask.model} is no model of the plane that can be trained", "choose one of moons")
        if any(isinstance(part, str) for part in entry["parts"].values()):
            raise UsageError(f"{ask.model} has a part that is a model of its own", "train that one")
        if ask.phase not in (None, *entry["phases"]):
            raise UsageError(f"{ask.model} has no phase {ask.phase:.50}", f"it has {', '.join(entry['phases'])}")
        words = train_words(entry, ask.phase or entry["phases"][0], ask.learning_rate)
        return JSONResponse({"run": service.runs.begin(_recipe(entry, ask), ask.points), **words})

    return await service.desk.run(request, work)


async def go_on(request: Request) -> Response:
    """Server-sent events: after each hundred steps `slice` with the step, the loss, points and density; until left."""

    service, name = service_of(request), request.path_params["run"]

    def slices() -> Iterator[tuple[str, Any]]:
        for said in service.runs.slices(name, SLICE, MOST):
            yield "slice", said

    return await events(request, slices)


def _recipe(entry: dict[str, Any], ask: AskTraining) -> dict[str, Any]:
    phase = ask.phase or entry["phases"][0]
    batch = min(256, max(8, len(ask.points)))
    return {
        "schema": 1,
        "name": "drawn",
        "architecture": entry["architecture"],
        "config": entry["config"],
        "parts": entry["parts"],
        "license": "of the points that were drawn",
        "seed": ask.seed,
        "phases": [
            {
                "phase": phase,
                "batch_size": batch,
                "steps": SLICE,
                "optimizer": {"name": "adam", "lr": ask.learning_rate},
                "clip_norm": 5.0,
            }
        ],
    }
