"""Pictures of chosen noise: the pad, walks between samples, and the strongest directions at a sample."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from dgmcore.config import Config, Real
from dgmcore.errors import UsageError

from ..limits import check_size
from ..shown.words import pad_words
from .answers import floats
from .asking import Number, Seed, read, service_of

if TYPE_CHECKING:
    from torch import Tensor

    from dgmcore.model import Model

__all__ = ["latent", "push", "walk"]


class AskLatent(Config):
    model: str


class AskPush(Config):
    model: str
    z: Annotated[list[tuple[Real, Real]], msgspec.Meta(min_length=1)] | None = None  # points of the pad
    seed: Seed = 0
    index: Number = 0  # of the sample whose noise is changed
    along: Annotated[list[Real], msgspec.Meta(max_length=4)] = []  # by so much along each direction


class AskWalk(Config):
    model: str
    a: Number
    b: Number
    seed: Seed = 0
    steps: Annotated[int, msgspec.Meta(ge=2, le=64)] = 9


async def latent(request: Request) -> Response:
    """`POST /api/latent`: the noise of a model: its dimensions, and the name of the noise that is a pad, if one is."""

    service, ask = service_of(request), await read(request, AskLatent)

    def work() -> Response:
        from .noise_space import held_at_zero, noise_sizes, pad_name

        with service.shelf.taken(service.catalog.check(ask.model)) as (model,):
            sizes = noise_sizes(_pushforward(model))
            free = sum(size for name, size in sizes.items() if name not in held_at_zero(model))
            return JSONResponse({"dimensions": free, "pad": pad_name(model)})

    return await service.desk.run(request, work)


async def push(request: Request) -> Response:
    """`POST /api/push`: pictures of points of the pad, or of a sample's noise moved along its strongest directions."""

    service, ask = service_of(request), await read(request, AskPush)

    def work() -> Response:
        import torch

        from dgmcore.sampling import model_range

        from .noise_space import along, noise_of, pad_name, pad_noise

        with service.shelf.taken(service.catalog.check(ask.model)) as (model,), torch.no_grad():
            check_size(len(ask.z or [0]), tuple(_pushforward(model).event_shape), service.limits)
            words: dict[str, str] = {}
            if ask.z is not None:
                eps = pad_noise(model, ask.z)
                words = pad_words(ask.model, str(pad_name(model)), ask.z[0]) if len(ask.z) == 1 else {}
            else:
                eps = noise_of(model, ask.seed, ask.index)
                if any(ask.along):
                    eps = along(model, eps, ask.along)
            return floats(_pushed(model, eps), range=model_range(model), **words)

    return await service.desk.run(request, work)


async def walk(request: Request) -> Response:
    """`POST /api/walk`: the great circle from the noise of sample `a` of a seed to that of sample `b`."""

    service, ask = service_of(request), await read(request, AskWalk)

    def work() -> Response:
        import torch

        from dgmcore.compose import tree_map
        from dgmcore.sampling import model_range

        from .noise_space import great_circle, noise_of

        with service.shelf.taken(service.catalog.check(ask.model)) as (model,), torch.no_grad():
            check_size(ask.steps, tuple(_pushforward(model).event_shape), service.limits)
            start, end = (noise_of(model, ask.seed, i) for i in (ask.a, ask.b))
            times = torch.linspace(0, 1, ask.steps).tolist()
            points = [_pushed(model, tree_map(lambda a, b, t=t: great_circle(a, b, t), start, end)) for t in times]
            command = f"dgm interpolate {ask.model} --seed {ask.seed}"
            return floats(torch.cat(points), range=model_range(model), command=command)

    return await service.desk.run(request, work)


def _pushforward(model: Model) -> Model:
    if not model.can("pushforward"):
        name = model.entry.name if model.entry else type(model).__name__
        raise UsageError(f"{name} is no map of noise", "choose another: dgm list --can pushforward")
    return model


def _pushed(model: Model, eps: Any) -> Tensor:
    from dgmcore.sampling.settings import outgoing

    return outgoing(model.push(eps), model, "what is made of that noise")
