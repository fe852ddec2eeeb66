"""Samplers of tilted models that tell how well they mixed: `dgm sample MODEL --tilt CRITIC --set sampler=hmc`.

MALA, HMC and adaptive Metropolis learn their step size in the first half of the steps where `step_size` is 0. The
core's own chains, Langevin's and Metropolis's, are watched as they are. What is told is of the second half, and is with
the model afterwards: `model.report()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dgmcore.compose import Nested, Tilted, flatten
from dgmcore.noise import Noise

from .chains.blocks import block_of
from .chains.posterior import Posterior, viewed
from .record import Record
from .samplers import Chain

__all__ = ["hmc", "langevin", "mala", "metropolis", "pcn"]


class _Options:
    """The options of a tilted model, as chains here want them."""

    def __init__(self, options: Any):
        self.step_size, self.leapfrogs = options.step_size or None, 5


def _record(tilted: Any, noise: Noise, sampler: str, why: str = "") -> Record:
    """Returns the record of a run, which the model has afterwards; a fresh one for its first batch."""

    if noise.start == 0 or not hasattr(tilted, "report"):
        record = Record("approximation" if why else "posterior sample", sampler, why)
        tilted.report, tilted.report_line, tilted._record = record.summary, record.line, record
    found: Record = tilted._record
    return found


def _plain(sampler: str, tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """The core's chain as it is; its states are looked at where they are judged, which pushes none twice."""

    last = options.temperature if options.final_temperature is None else options.final_temperature
    why = "" if options.temperature == last == 1 else "the chains' temperature is not 1"
    if options.gradient_clip is not None and sampler == "langevin":
        why = "gradients are clipped"
    record = _record(tilted, noise, sampler, why)
    judged: list[Tensor] = []

    def excess(eps: Nested) -> Tensor:
        phi, x = tilted.judged(eps, options.weight)
        judged.append(viewed(x.detach()))
        return phi

    eps = tilted.start(noise, options)
    yield eps
    views, moves = [], []
    for after in tilted.chain(eps, noise.child("langevin"), options, excess):
        if sampler == "langevin":  # which judges where a step begins
            moved, view = torch.ones(noise.n, device=judged[-1].device), judged[-1]
        else:  # a refused proposal leaves a state as it was, to the bit
            pairs = zip(flatten(eps).values(), flatten(after).values(), strict=True)
            moved = torch.stack([(a != b).flatten(1).any(1) for a, b in pairs]).any(0).to(judged[-1])
            view = torch.where(moved[:, None] > 0, judged[-1], views[-1] if views else judged[0])
        views.append(view)
        moves.append(moved)
        eps = after
        yield eps
    half = len(views) // 2
    record.chains(views[half:], moves[half:])


def langevin(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`dgmcore.compose.langevin`."""

    return _plain("langevin", tilted, noise, options)


def metropolis(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.metropolis.metropolis`."""

    return _plain("metropolis", tilted, noise, options)


def _chain(sampler: str, tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    target = Posterior(tilted, [], block_of(tilted.event_shape), options.weight)
    record = _record(tilted, noise, sampler)
    eps = target.flat(tilted.start(noise, options))
    yield target.nested(eps)
    warmup = options.steps // 2
    chain = Chain(target, eps, noise.child(sampler), _Options(options), sampler, warmup)
    for k in range(warmup):
        chain.warm(k)
        yield target.nested(chain.state.eps)
    chain.settle()
    views, accepted = [], []
    for _ in range(options.steps - warmup):
        accepted.append(chain.step())
        views.append(chain.state.view)
        yield target.nested(chain.state.eps)
    record.chains(views, accepted)


def mala(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.mala`."""

    return _chain("mala", tilted, noise, options)


def hmc(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.hmc`."""

    return _chain("hmc", tilted, noise, options)


def pcn(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.pcn`."""

    return _chain("pcn", tilted, noise, options)
