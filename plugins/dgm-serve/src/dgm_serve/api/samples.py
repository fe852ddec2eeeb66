"""Samples, and the way of an iterative sampler to them: the numbers of `dgm sample`."""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal

from starlette.requests import Request
from starlette.responses import Response

from dgmcore.errors import UsageError

from ..shown.words import sample_words
from .answers import encoded, events, floats, window
from .asking import Ask, model_of, read, read_query, service_of

if TYPE_CHECKING:
    from torch import Tensor

    from dgmcore.model import Model

__all__ = ["sample", "trajectory"]

FRAMES = 97  # of a way that are sent; when there are more, every other one is dropped


class AskSamples(Ask):
    format: Literal["float32", "png", "npz"] = "float32"


async def sample(request: Request) -> Response:
    """`POST /api/sample`: samples as raw float32, as the picture that the command writes, or as `.npz`."""

    service, ask = service_of(request), await read(request, AskSamples)

    def work() -> Response:
        import torch

        from dgmcore.sampling import model_range, stream

        with model_of(service, ask) as model:
            x = torch.cat(list(stream(model, ask.n, seed=ask.seed, start=ask.start, options=ask.options)))
            if ask.format == "float32":
                return floats(x, range=model_range(model), **sample_words(ask))
            content = _picture(model, x) if ask.format == "png" else _archive(x)
            kind = "image/png" if ask.format == "png" else "application/octet-stream"
            return Response(content, media_type=kind)

    return await service.desk.run(request, work)


def _picture(model: Model, x: Tensor) -> bytes:
    from dgmcore.sampling.pictures.canvas import Canvas

    file = io.BytesIO()
    Canvas(model).write(x, file)
    return file.getvalue()


def _archive(x: Tensor) -> bytes:
    import numpy as np

    file = io.BytesIO()
    np.savez(file, samples=x.detach().cpu().float().numpy())
    return file.getvalue()


async def trajectory(request: Request) -> Response:
    """`GET /api/trajectory?ask=JSON`: the states of an iterative sampler as server-sent events.

    `begin` has the shape and range; `state` its number, the states in base64, and for a tilted model the mean energy
    and its 10 % and 90 % quantiles, and the share of proposals that were accepted so far; `thin` says that of the
    states before, only those whose numbers are multiples of `stride` count from now on.
    """

    service, ask = service_of(request), read_query(request, Ask)

    def states() -> Iterator[tuple[str, Any]]:
        from dgmcore.sampling import default_batch_size, model_range
        from dgmcore.sampling.draw import first_states

        with model_of(service, ask) as model:
            if ask.n > default_batch_size(model) or ask.start:
                most = default_batch_size(model)
                raise UsageError("a way is shown of the first samples only", f"ask for at most {most}, from start 0")
            ways = first_states(model, ask.n, seed=ask.seed, options=ask.options)
            yield (
                "begin",
                {"shape": [ask.n, *model.event_shape], "range": model_range(model), **sample_words(ask, way=True)},
            )
            yield from _thinned(ways, _Watch(model, ask))

    return await events(request, states)


def _thinned(ways: Iterator[Tensor], watch: _Watch) -> Iterator[tuple[str, Any]]:
    stride, number, last = 1, -1, None
    for number, x in enumerate(ways):
        facts = watch(x)
        last = None
        if number // stride >= FRAMES:
            stride *= 2
            yield "thin", {"stride": stride}
        if number % stride == 0:
            yield "state", {"number": number, "x": encoded(x), **window(x), **facts}
        else:
            last = {"number": number, "x": encoded(x), **window(x), **facts}
    if last is not None:
        yield "state", last


class _Watch:
    """What is to be said of each state of a tilted model's chain."""

    def __init__(self, model: Model, ask: Ask):
        self.critic_score = getattr(model, "critic_score", None) if ask.tilt is not None else None
        self.proposes = ask.options.get("sampler") == "metropolis"
        self.before: Tensor | None = None
        self.accepted = self.proposals = 0

    def __call__(self, x: Tensor) -> dict[str, Any]:
        if self.critic_score is None:
            return {}
        import torch

        with torch.no_grad():
            energy = -self.critic_score(x).double()
        low, high = torch.quantile(energy, torch.tensor([0.1, 0.9], dtype=torch.float64)).tolist()
        facts: dict[str, Any] = {"energy": float(energy.mean()), "low": low, "high": high}
        if self.proposes:
            if self.before is not None:  # a refused proposal leaves a state as it was, to the bit
                self.accepted += int((x != self.before).flatten(1).any(1).sum())
                self.proposals += len(x)
            self.before = x
            facts["acceptance"] = self.accepted / self.proposals if self.proposals else None
        return facts
