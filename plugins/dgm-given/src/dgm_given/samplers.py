r"""How a posterior is sampled: by which sampler, from which start, and what is recorded of it.

Each sampler yields functions that return the state as data, so that only what is looked at is computed.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dgmcore.compose import Tilted
from dgmcore.errors import NotFiniteError, OptionError
from dgmcore.noise import IndexedNoise, Noise
from dgmcore.sampling import model_range
from dgmcore.sampling.pictures import kind_of

from .chains import Population, Scale, State, StepSize, hmc, independence, langevin, mala, pcn, populate, walk
from .chains.blocks import block_of
from .chains.posterior import Posterior
from .correct import corrected, heat_of
from .diffusion import Look, denoises, guided
from .observation import Label, Observation
from .optimum import descent
from .record import Record

__all__ = ["Chain", "chains", "posterior_of"]

_FEW = 16  # dimensions of noise up to which a population reaches every mode
_BEST = 16  # draws that tell how near the model comes
_PARTICLES = {"points": 4096, "image": 1024}  # where nobody says: pushing a picture costs more
_DRAWS = 4  # draws of the prior for each particle
_MANY = {"moves": 1, "last": 2}  # of a population in many dimensions, whose chains are to move on
_STEPS = 20  # of those chains
_ACCEPTANCE = {"mala": 0.574, "hmc": 0.8, "pcn": 0.25, "langevin": 0.574}


def posterior_of(model: Any, misfit: float = 0.0) -> Posterior:
    """Returns what chains of a model run on."""

    return Posterior(model.tilted(), model.terms(misfit), block_of(model.event_shape))


def chains(model: Any, noise: Noise, options: Any) -> Iterator[Look]:
    """Yields the states of a model's sampler; the last are the samples."""

    if denoises(model.base):
        yield from guided(model, noise, options)
        return
    target = posterior_of(model)
    sampler = options.sampler
    if sampler == "auto":
        sampler = "population" if target.dim <= _FEW or _broad(model) else "mala"
    if sampler == "population":
        target.block = max(target.block, 64)  # it pushes thousands
        yield from _by_population(model, target, noise, options)
        return
    if sampler == "optimum":
        yield from _by_descent(model, target, noise, options)
        return
    if sampler not in _ACCEPTANCE:
        names = ", ".join(("population", *_ACCEPTANCE, "optimum"))
        raise OptionError(f"the sampler {sampler} is for diffusions with a denoiser", f"choose one of {names}")
    yield from _by_chains(model, target, noise, options, sampler)


def _broad(model: Any) -> bool:
    """Whether only classes are given: each has a share of the prior, so that its draws reach the posterior.

    They stay where the model's own samples are. Slopes lead to pictures that fool a classifier.
    """

    plain = not (model.critics or isinstance(model.base, Tilted))
    return bool(model.observations) and plain and all(isinstance(one, Label) for one in model.observations)


# --- populations ------------------------------------------------------------------------------------


def _by_population(model: Any, target: Posterior, noise: Noise, options: Any) -> Iterator[Look]:
    record = model.record(Record("posterior sample", "population"))
    seen = _corrigible(model, options)
    crowd, target.heat = _population(model, target, noise, options, seen)
    moves = noise.child("chain")
    state = target.evaluate(crowd.eps[moves.integers(len(crowd.eps))])
    yield partial(target.data, state.eps)
    views, accepted = [], []
    for k in range(options.steps or (_enough(crowd.tau) if target.dim <= _FEW else _STEPS)):
        if k % 4 == 3:
            state, probability = walk(target, state, moves, crowd.proposal)
        else:
            state, probability = independence(target, state, moves, crowd.proposal)
        accepted.append(probability)
        views.append(state.view)
        yield partial(target.data, state.eps)
    record.chains(views, accepted)
    yield from _finished(model, target, state.eps, record, seen)


def _enough(tau: float) -> int:
    """Returns how many steps give an R-hat of 1.03: its square is 1 + (tau - 1) / n of half a chain of n steps.

    A quarter of the steps are walks. Where more than 800 are due, the record tells what was reached.
    """

    return round(min(800, max(50, 2 * (4 / 3 * tau - 1) / (1.03**2 - 1))))


def _population(
    model: Any, target: Posterior, noise: Noise, options: Any, seen: list[Observation]
) -> tuple[Population, float]:
    """Returns the population of a seed, the same for every batch; and the heat at which it is the posterior."""

    few = _PARTICLES["image" if kind_of(model.event_shape) == "image" else "points"]
    particles = options.particles or model.config.particles or few
    if particles < 64:
        raise OptionError(f"a population of {particles}", "choose particles of at least 64")
    seed, scope = getattr(noise, "seed", 0), f"{getattr(noise, 'scope', '')}/population"
    version = getattr(noise, "version", 1)
    key = (seed, scope, version, particles, noise.device, noise.dtype, options.correct)
    if key not in model.populations:
        like: dict[str, Any] = {"device": noise.device, "dtype": noise.dtype, "scope": scope, "version": version}
        eps = target.draw(IndexedNoise(seed, _DRAWS * particles, **like))
        first = target.checked(target.evaluate(eps if seen else eps[:particles]))
        if seen:  # what the best draws miss is out of reach
            best = eps[first.phi.argsort()[:_BEST]]
            target.heat = float(heat_of(target.data(best), seen).mean())
        moves = IndexedNoise(seed, particles, **like).child("moves")
        rounds = {} if target.dim <= _FEW else _MANY
        model.populations = {key: (populate(target, eps, moves, **rounds), target.heat)}
    population: tuple[Population, float] = model.populations[key]
    return population


# --- many dimensions --------------------------------------------------------------------------------


def _by_chains(model: Any, target: Posterior, noise: Noise, options: Any, sampler: str) -> Iterator[Look]:
    """A chain for each sample: brought to the posterior, by descent if it has slopes; then it learns its step size."""

    record = model.record(Record("posterior sample", sampler))
    eps = target.draw(noise)
    yield partial(target.data, eps)
    warmup = 150 if options.warmup is None else options.warmup
    chain = Chain(target, _start(target, eps, noise, options), noise.child("chain"), options, sampler, warmup)
    seen = _corrigible(model, options)
    lower = descent(target, chain.state, chain.annealed, towards=chain.state.eps) if chain.slopes else None
    for k in range(warmup):
        if seen and k == chain.annealed:  # what the model does not reach by now is noise to it
            chain.final = heat_of(target.data(chain.state.eps), seen)[:, None]
        if lower is not None and k < chain.annealed:
            chain.lowered(next(lower))
        else:
            chain.warm(k)
        yield chain.look
    chain.settle()
    views, accepted = [], []
    for _ in range(options.steps or 50):
        accepted.append(chain.step())
        views.append(chain.state.view)
        yield chain.look
    record.chains(views, accepted)
    yield from _finished(model, target, chain.state.eps, record, seen)


def _by_descent(model: Any, target: Posterior, noise: Noise, options: Any) -> Iterator[Look]:
    """The largest density that is found from each sample of the prior."""

    record = model.record(Record("optimum", "optimum"))
    eps = target.draw(noise)
    yield partial(target.data, eps)
    first = target.checked(target.evaluate(_start(target, eps, noise, options), slopes=True))
    for state in descent(target, first, options.steps or 200, options.step_size or 0.1):
        eps = state.eps
        yield partial(target.data, eps)
    yield from _finished(model, target, eps, record, _corrigible(model, options))


def _corrigible(model: Any, options: Any) -> list[Observation]:
    """Returns the observations for which samples are corrected: of pictures, where nothing else is given."""

    seen = [one for one in model.observations if isinstance(one, Observation)]
    alone = len(seen) == len(model.observations) and not model.critics
    return seen if options.correct and alone and kind_of(model.event_shape) == "image" else []


def _finished(model: Any, target: Posterior, eps: Tensor, record: Record, seen: list[Observation]) -> Iterator[Look]:
    """Records what samples miss, and yields them corrected if they are to be."""

    bad = int((~target.evaluate(eps).phi.isfinite()).sum()) if model.critics else 0
    if bad:
        what = f"{bad} of {len(eps)} samples are where the critics allow nothing"
        raise NotFiniteError(what, "check the critics, or give the chains more steps")
    x = target.data(eps)
    for one in model.observations:
        if isinstance(one, Observation):
            record.misfit(one.what, one.sigma, one.misfit(x), one in seen)
    if seen:
        yield partial(corrected, x, seen, limits=model_range(model))


def _start(target: Posterior, eps: Tensor, noise: Noise, options: Any) -> Tensor:
    """Returns where chains start: one of several draws of the prior, by its likelihood."""

    count = options.candidates or (64 if target.dim <= 128 else 1)
    if count == 1:
        return eps
    more = target.draw(noise.child("candidates").repeat(count))
    phi = target.checked(target.evaluate(more)).phi.reshape(-1, count)
    gumbel = -(-noise.child("choice").uniform(count).clamp(1e-7, 1 - 1e-7).log()).log()
    best = (gumbel - phi).argmax(1)
    return more.reshape(len(eps), count, -1)[torch.arange(len(eps), device=eps.device), best]


class Chain:
    """Chains that learn their step sizes and scales while they are annealed."""

    def __init__(self, target: Posterior, eps: Tensor, noise: Noise, options: Any, sampler: str, warmup: int):
        self.target, self.noise, self.options, self.sampler = target, noise, options, sampler
        self.slopes = sampler != "pcn"
        self.state: State = target.checked(target.evaluate(eps, self.slopes))
        n, d = eps.shape
        first = options.step_size or (0.3 if sampler == "pcn" else min(0.1, d ** (-1 / 3)))
        self.size = eps.new_full((n, 1), first)
        self.scale = torch.ones_like(eps)
        self.warmup, self.annealed = warmup, max(1, round(0.6 * warmup))
        self.coldest = (d / self.state.phi.abs().clamp(min=1.0)).clamp(max=1.0)[:, None]
        self.adapt = StepSize(self.size, _ACCEPTANCE[sampler], most=1.0 if sampler == "pcn" else 4.0)
        self.scales = Scale(eps)
        self.final: float | Tensor = 1.0  # below 1 where the model does not reach what was seen

    def look(self) -> Tensor:
        return self.target.data(self.state.eps)

    def lowered(self, state: State) -> None:
        """Goes where a descent went, and learns scales on the way."""

        assert state.slope is not None
        self.state = state
        self.scales.update(state.eps + state.slope)

    def warm(self, k: int) -> None:
        """Makes step `k` of the warm-up."""

        heat = self.coldest ** (1 - (k + 1) / self.annealed) if k < self.annealed else self.final
        if self.slopes:
            assert self.state.slope is not None
            self.scales.update(self.state.eps + heat * self.state.slope)
            self.scale = self.scales.value()
        probability = self._moved(heat)
        if self.options.step_size is None:
            self.adapt.update(probability)
            self.size = self.adapt.value

    def settle(self) -> None:
        """Keeps from here on what was learned."""

        if self.options.step_size is None and self.warmup:
            self.size = self.adapt.settled()

    def step(self) -> Tensor:
        """Makes a step of the chain proper; returns the probabilities of acceptance, `(n,)`."""

        return self._moved(self.final)

    def _moved(self, heat: float | Tensor) -> Tensor:
        flat = heat if isinstance(heat, float) else heat[:, 0]
        if self.sampler == "pcn":
            self.state, probability = pcn(self.target, self.state, self.noise, self.size, flat)
            return probability
        kernel = {"mala": mala, "langevin": langevin}.get(self.sampler)
        if kernel is not None:
            self.state, probability = kernel(self.target, self.state, self.noise, self.size, self.scale, heat)
        else:
            leapfrogs = self.options.leapfrogs
            size = self.size * (0.8 + 0.4 * self.noise.uniform(1))  # jittered, so that no orbit closes
            self.state, probability = hmc(self.target, self.state, self.noise, size, self.scale, heat, leapfrogs)
        return probability
