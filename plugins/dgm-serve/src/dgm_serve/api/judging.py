"""What a model says of data: scores, heat maps over the plane, reconstructions."""

from __future__ import annotations

from typing import Annotated

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dgmcore.config import Config, Positive, Real
from dgmcore.errors import UsageError

from ..shown.words import file_words, score_words
from .answers import floats, window
from .asking import AskData, Seed, data_of, read, service_of

__all__ = ["density", "reconstruct", "score"]


#: What the kinds of values are.
MEANINGS = {
    "exact": "an exact log-likelihood",
    "lower_bound": "a lower bound of the log-likelihood",
    "estimate": "an estimate of the log-likelihood",
    "unnormalized": "a log-likelihood up to a constant",
    "critic": "a critic's score: higher is more like the data, and it is no likelihood",
}


class AskDensity(Config):
    """A square of the plane: its lower left corner, its side, and points a side."""

    model: str
    x: Real
    y: Real
    side: Positive
    grid: Annotated[int, msgspec.Meta(ge=2, le=256)] = 96
    seed: Seed = 0


async def score(request: Request) -> Response:
    """`POST /api/score`: what `dgm score` says of data: the kind of the values, their unit, each value, their mean."""

    service, ask = service_of(request), await read(request, AskData)

    def work() -> Response:
        from dgmcore import score

        with service.shelf.taken(service.catalog.check(ask.model)) as (model,):
            x = data_of(service, model, ask)
            scores = score(model, x, seed=ask.seed, options=ask.options)
            words = score_words(ask.model, x[0].tolist()) if x[0].shape == (2,) else file_words("score", ask.model)
            return JSONResponse(
                {**scores._asdict(), "values": scores.values.tolist(), "meaning": MEANINGS[scores.kind], **words}
            )

    return await service.desk.run(request, work)


async def density(request: Request) -> Response:
    """`POST /api/density`: values on a square of the plane, `(grid, grid)`, rows from the top; minus inf may be one."""

    service, ask = service_of(request), await read(request, AskDensity)

    def work() -> Response:
        import torch

        from dgmcore.sampling.scores import judgements

        with service.shelf.taken(service.catalog.check(ask.model)) as (model,):
            if tuple(model.event_shape) != (2,):
                raise UsageError("the model's data are no points of a plane", "score data one by one")
            cells = (torch.arange(ask.grid) + 0.5) / ask.grid * ask.side
            y, x = torch.meshgrid(ask.y + cells.flip(0), ask.x + cells, indexing="ij")
            found = judgements(model, torch.stack([x, y], -1).view(-1, 2), seed=ask.seed)
            values = found.values.nan_to_num(nan=-torch.inf).view(ask.grid, ask.grid)
            return floats(values, kind=found.kind, unit=found.unit, meaning=MEANINGS[found.kind])

    return await service.desk.run(request, work)


async def reconstruct(request: Request) -> Response:
    """`POST /api/reconstruct`: data, and what the model makes of their codes, `(2, n, *event_shape)`."""

    service, ask = service_of(request), await read(request, AskData)

    def work() -> Response:
        import torch

        from dgmcore.sampling import model_range
        from dgmcore.sampling.settings import outgoing

        with service.shelf.taken(service.catalog.check(ask.model)) as (model,):
            if not model.can("encoder"):
                raise UsageError(f"{ask.model} has no codes", "choose another: dgm list --can encoder")
            x = data_of(service, model, ask)
            with torch.no_grad():
                back = outgoing(model.decode(model.encode(x)), model, "reconstructions")
            error = float((x - back).square().mean().sqrt())
            return floats(
                torch.stack([x, back]),
                range=model_range(model),
                error=error,
                **window(x),
                **file_words("reconstruct", ask.model),
            )

    return await service.desk.run(request, work)
