r"""A population carried from the prior to the posterior: sequential Monte Carlo by tempering.

.. math:: h_\lambda(\epsilon) \propto N(\epsilon; 0, I) \, e^{-\lambda \Phi(\epsilon)}, \qquad \lambda: 0 \to 1

Each stage goes as far as half of the population still counts, resamples, and moves everyone by Markov steps. All modes
that prior draws reach are kept with their weights, which chains from single starts don't do.

References:
    [1] Sequential Monte Carlo samplers (Del Moral, Doucet & Jasra, 2006)
    [2] Inference for Lévy-driven stochastic volatility models via adaptive SMC (Jasra et al., 2011): the stages
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dgmcore.errors import UsageError
from dgmcore.noise import Noise

from .kernels import independence, pcn
from .local import DiagonalGaussian, LocalMixture, nearest_to
from .state import State, Target, energy

__all__ = ["Population", "populate"]

_STAGES = 200  # at most: by then the prior has nothing to do with what is given
_NEIGHBOURS = (32, 96, 288)
_LOCAL = 16  # dimensions in which a mixture of local Gaussians is a good proposal


class Population(NamedTuple):
    """Draws of a posterior, and what its chains go on with.

    Attributes:
        eps: The draws, `(M, D)`.
        proposal: A mixture around the draws; in many dimensions a Gaussian.
        tau: The steps that a chain of its proposals takes to forget where it was.
        stages: The number of stages that it took.
        evidence: The estimate of the logarithm of :math:`E[e^{-\\Phi}]`.
    """

    eps: Tensor
    proposal: LocalMixture | DiagonalGaussian
    tau: float
    stages: int
    evidence: float


def populate(target: Target, eps: Tensor, noise: Noise, moves: int = 2, last: int = 4) -> Population:
    """Carries draws of N(0, I) to the posterior.

    Arguments:
        target: The posterior.
        eps: The draws, `(N, D)`, of which the first stage may leave fewer.
        noise: All randomness of resampling and moves; `noise.n` are left.
        moves: Rounds of moves at each stage.
        last: Further rounds at the last.

    Raises:
        UsageError: If what is given is impossible for the model.
    """

    state, heat, beta, evidence = target.evaluate(eps), 0.0, 0.5, 0.0
    for stage in range(1, _STAGES + 1):
        step = _step(state.phi, 1 - heat)
        weights = -(step * state.phi.double())
        evidence += float(weights.logsumexp(0) - torch.tensor(float(len(weights))).log())
        heat = min(1.0, heat + step) if heat + step < 1 - 1e-9 else 1.0
        state = _picked(state, _resampled(weights.softmax(0), float(noise.uniform()[0]), noise.n))
        local = _rough(_shuffled(state.eps, noise))
        met = []
        for _ in range(moves if heat < 1 else moves + last):
            state, taken = pcn(target, state, noise, beta, heat)
            beta = min(1.0, max(1e-4, beta * float(torch.exp(taken.double().mean() - 0.3))))
            state, _ = independence(target, state, noise, local, heat)
            met.append(state.eps)
        if heat == 1.0:
            final = _fitted(target, torch.cat(met[-last:]), noise)
            return Population(_shuffled(state.eps, noise), *final, stage, evidence)
    raise UsageError(
        f"what is given is out of the model's reach: {_STAGES} stages of tempering came to {heat:.1e}",
        "give a larger --sigma, or correct what is given",
    )


def _rough(points: Tensor) -> LocalMixture | DiagonalGaussian:
    if points.shape[1] > _LOCAL:
        return DiagonalGaussian(points)
    return LocalMixture(points, *nearest_to(points, 512, 64))


def _fitted(target: Target, points: Tensor, noise: Noise) -> tuple[LocalMixture | DiagonalGaussian, float]:
    """Returns the best of several proposals around points, and the steps that it takes to forget where a chain was."""

    points = points[_order(len(points), noise)]
    tried = []
    for proposal in _proposals(points, noise.n):
        state = target.evaluate(proposal.draw(noise))
        log_weights = -energy(state).double() - proposal.log_density(state.eps)
        tried.append((_forgetting(log_weights.nan_to_num(nan=-torch.inf).softmax(0)), proposal))
    tau, best = min(tried, key=lambda pair: pair[0])
    return best, tau


def _proposals(points: Tensor, count: int) -> list[LocalMixture | DiagonalGaussian]:
    """Returns proposals around points: few neighbours follow what is thin and bent, many smooth what is broad."""

    if points.shape[1] > _LOCAL:
        return [DiagonalGaussian(points)]
    centres, nearest = nearest_to(points, max(64, count // 2), _NEIGHBOURS[-1])
    return [LocalMixture(points, centres, nearest[:, :neighbours]) for neighbours in _NEIGHBOURS]


def _forgetting(weights: Tensor) -> float:
    r"""Returns the autocorrelation time of independence Metropolis with proposals of these importance weights.

    A chain stays at a state of weight w for a number of steps that is geometric, of the mean 1 / a with
    :math:`a(w) = E[\min(1, w' / w)]`, so :math:`\tau = E_\pi[2 / a - 1]`.
    """

    w = weights.sort().values
    below = w.cumsum(0)
    above = torch.arange(len(w) - 1, -1, -1, device=w.device)
    a = (below / w.clamp(min=1e-300) + above) / len(w)
    return float((w * (2 / a.clamp(min=1e-12) - 1)).sum())


def _step(phi: Tensor, most: float) -> float:
    """Returns the step of the temperature at which half of the population counts, at most `most`."""

    phi = phi.double()

    def share(step: float) -> float:
        w = (-step * phi).softmax(0)
        return float(1 / (w.square().sum() * len(w)))

    if share(most) >= 0.5:
        return most
    low, high = 0.0, most
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if share(middle) >= 0.5 else (low, middle)
    return max(low, 1e-12)


def _resampled(weights: Tensor, u: float, count: int) -> Tensor:
    """Returns `count` indices drawn by systematic resampling from one uniform number."""

    places = (torch.arange(count, dtype=torch.float64, device=weights.device) + u) / count
    return torch.searchsorted(weights.cumsum(0).clamp(max=1.0), places).clamp(max=len(weights) - 1)


def _picked(state: State, index: Tensor) -> State:
    return State(state.eps[index], state.phi[index], None, state.view[index])


def _shuffled(eps: Tensor, noise: Noise) -> Tensor:
    """Returns the draws in a random order: resampling leaves copies beside each other."""

    return eps[_order(len(eps), noise)]


def _order(count: int, noise: Noise) -> Tensor:
    """Returns a random order of so many, a multiple of `noise.n`."""

    return noise.uniform(count // noise.n).T.flatten().argsort()
