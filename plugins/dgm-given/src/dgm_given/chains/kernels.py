r"""Steps of chains that leave :math:`h(\epsilon) \propto N(\epsilon; 0, I) \, e^{-\lambda \Phi(\epsilon)}` as it is.

Each takes states and noise of the same `n`, and returns the next states and the probabilities of acceptance, `(n,)`.
Chains never look at each other. A proposal whose potential is not a number is refused.

References:
    [1] MCMC Methods for Functions: Modifying Old Algorithms to Make Them Faster (Cotter et al., 2013),
        https://arxiv.org/abs/1202.0709
    [2] MCMC using Hamiltonian dynamics (Neal, 2011), https://arxiv.org/abs/1206.1901
    [3] Exponential convergence of Langevin distributions and their discrete approximations (Roberts & Tweedie, 1996)
"""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from dgmcore.noise import Noise

from .state import State, Target, chosen, energy

__all__ = ["Proposal", "accept", "hmc", "independence", "langevin", "mala", "pcn", "walk"]

Number = float | Tensor


class Walk(Protocol):
    """A way to move points that knows how likely the way back is."""

    def walk(self, eps: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Returns new points `(n, D)`, and the logarithm of the density of the way back over that there, `(n,)`."""
        ...


class Proposal(Protocol):
    """A distribution on noise that proposals are drawn from."""

    def draw(self, noise: Noise) -> Tensor:
        """Returns `(n, D)`."""
        ...

    def log_density(self, eps: Tensor) -> Tensor:
        """Maps `(n, D)` to `(n,)`, with the constant of N(0, I) left out."""
        ...


def accept(new: State, old: State, log_ratio: Tensor, noise: Noise) -> tuple[State, Tensor]:
    """Keeps new states with probability min(1, exp(log_ratio)); what is not a number is refused."""

    log_ratio = torch.where(log_ratio.isnan() | new.phi.isnan(), -torch.inf, log_ratio)
    probability = log_ratio.clamp(max=0).exp()
    return chosen(noise.uniform() < probability, new, old), probability


def pcn(target: Target, state: State, noise: Noise, beta: Number, heat: Number = 1.0) -> tuple[State, Tensor]:
    r"""Proposes :math:`\sqrt{1 - \beta^2} \epsilon + \beta \omega`, which leaves N(0, I) as it is [1, eq. 4.5]."""

    keep = (1 - torch.as_tensor(beta, dtype=state.eps.dtype).square()).sqrt()
    new = target.evaluate(keep * state.eps + beta * noise.normal(state.eps.shape[1]))
    return accept(new, state, heat * (state.phi - new.phi), noise)


def independence(
    target: Target, state: State, noise: Noise, proposal: Proposal, heat: Number = 1.0
) -> tuple[State, Tensor]:
    """Proposes a draw of another distribution, wherever the chain is."""

    new = target.evaluate(proposal.draw(noise))
    gain = proposal.log_density(state.eps) - proposal.log_density(new.eps)
    return accept(new, state, energy(state, heat) - energy(new, heat) + gain.to(new.phi), noise)


def walk(target: Target, state: State, noise: Noise, way: Walk, heat: Number = 1.0) -> tuple[State, Tensor]:
    """Proposes a move that depends on where the chain is."""

    moved, gain = way.walk(state.eps, noise)
    new = target.evaluate(moved)
    return accept(new, state, energy(state, heat) - energy(new, heat) + gain.to(new.phi), noise)


def _drift(state: State, heat: Number) -> Tensor:
    assert state.slope is not None
    return state.eps + heat * state.slope


def langevin(
    target: Target, state: State, noise: Noise, step: Number, scale: Number = 1.0, heat: Number = 1.0
) -> tuple[State, Tensor]:
    """A step of :func:`mala` that is always taken: it has the error of its size."""

    w = noise.normal(state.eps.shape[1])
    moved = state.eps - step / 2 * scale * _drift(state, heat) + (step * scale) ** 0.5 * w
    return target.evaluate(moved, slopes=True), torch.ones_like(state.phi)


def mala(
    target: Target, state: State, noise: Noise, step: Number, scale: Number = 1.0, heat: Number = 1.0
) -> tuple[State, Tensor]:
    r"""Metropolis-adjusted Langevin [3]: proposes :math:`\epsilon - \frac{h}{2} S \nabla U + \sqrt{h S} \, \omega`.

    Arguments:
        target: The density.
        state: With slopes.
        noise: The noise.
        step: h, a number or `(n, 1)`.
        scale: The diagonal S, a number or `(n, D)` or `(D,)`.
        heat: :math:`\lambda`.
    """

    w, variance = noise.normal(state.eps.shape[1]), step * scale
    drift = _drift(state, heat)
    new = target.evaluate(state.eps - variance / 2 * drift + variance**0.5 * w, slopes=True)
    back = state.eps - new.eps + variance / 2 * _drift(new, heat)
    gain = w.square().sum(1) / 2 - (back.square() / variance).sum(1) / 2
    return accept(new, state, energy(state, heat) - energy(new, heat) + gain, noise)


def hmc(
    target: Target,
    state: State,
    noise: Noise,
    step: Number,
    scale: Number = 1.0,
    heat: Number = 1.0,
    leapfrogs: int = 5,
) -> tuple[State, Tensor]:
    """Hamiltonian Monte Carlo [2, section 3]: `leapfrogs` steps of size `step`, with masses 1 / `scale`."""

    p = noise.normal(state.eps.shape[1])
    size = step * scale**0.5  # in coordinates in which all masses are 1
    before = energy(state, heat) + p.square().sum(1) / 2
    new = state
    p = p - size / 2 * _drift(new, heat)
    for k in range(leapfrogs):
        new = target.evaluate(new.eps + size * p, slopes=True)
        p = p - (size if k + 1 < leapfrogs else size / 2) * _drift(new, heat)
    return accept(new, state, before - energy(new, heat) - p.square().sum(1) / 2, noise)
