"""MALA, HMC and adaptive Metropolis for tilted models: `dgm sample MODEL --tilt CRITIC --set sampler=hmc`.

Half of the steps are a warm-up, in which the step size is learned where `step_size` is 0. What the chains report is
with the model afterwards: `model.report()`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from dgmcore.compose import Nested, Tilted
from dgmcore.noise import Noise

from .chains.posterior import Posterior
from .record import Record
from .samplers import Chain, block_of

__all__ = ["hmc", "mala", "pcn"]


class _Options:
    """The options of a tilted model, as chains here want them."""

    def __init__(self, options: Any):
        self.step_size, self.leapfrogs = options.step_size or None, 5


def _chain(sampler: str, tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    target = Posterior(tilted, [], block_of(tilted.event_shape), options.weight)
    if noise.start == 0 or not hasattr(tilted, "report"):
        record = Record("posterior sample", sampler)
        tilted.report, tilted.report_line, tilted._record = record.summary, record.line, record  # type: ignore[assignment]
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
    tilted._record.chains(views, accepted)  # type: ignore[union-attr]


def mala(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.mala`."""

    return _chain("mala", tilted, noise, options)


def hmc(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.hmc`."""

    return _chain("hmc", tilted, noise, options)


def pcn(tilted: Tilted, noise: Noise, options: Any) -> Iterator[Nested]:
    """Yields the states of :func:`.chains.pcn`."""

    return _chain("pcn", tilted, noise, options)
