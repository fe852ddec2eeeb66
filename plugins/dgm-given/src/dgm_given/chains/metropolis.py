"""Metropolis steps on nested dictionaries of noise, which need no gradient.

References:
    [1] MCMC Methods for Functions: Modifying Old Algorithms to Make Them Faster (Cotter et al., 2013),
        https://arxiv.org/abs/1202.0709
    [2] Metropolis-Hastings Generative Adversarial Networks (Turner et al., 2019), https://arxiv.org/abs/1811.11357
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import torch

from dgmcore.compose.finite import finite_potential
from dgmcore.compose.nested import Nested, Potential, tree_map
from dgmcore.compose.temperature import of_each_step
from dgmcore.errors import OptionError
from dgmcore.noise import Noise

__all__ = ["metropolis"]


def metropolis(
    excess: Potential,
    eps: Nested,
    noise: Noise,
    *,
    steps: int,
    step_size: float,
    temperature: float | Sequence[float] = 1.0,
) -> Iterator[Nested]:
    r"""Runs Metropolis steps with proposals that leave N(0, I) as it is, and yields the state after each.

    The proposal is the preconditioned Crank-Nicolson one [1, eq. 4.5],

    .. math:: \epsilon^* = \sqrt{1 - \beta^2} \, \epsilon + \beta \, \omega,

    accepted with probability :math:`\min(1, \exp((\Phi(\epsilon) - \Phi(\epsilon^*)) / T))`. In any dimension the
    chain's density for T = 1 is :math:`N(\epsilon; 0, I) \, e^{-\Phi(\epsilon)}`, without the error of Langevin's
    steps. It follows no gradient, so it does not seek the pictures that fool a critic without looking better. With
    :math:`\beta = 1` the proposals are fresh samples: Metropolis-Hastings GAN [2].

    Arguments:
        excess: Maps nested noise, leaves `(n, *shape)`, to :math:`\Phi`, shape `(n,)`: the potential without the
            Gaussian's :math:`|\epsilon|^2 / 2`.
        eps: The start, leaves `(n, *shape)`.
        noise: The source of all randomness, `noise.n == n`.
        steps: The number of proposals.
        step_size: :math:`\beta`, above 0, at most 1.
        temperature: T, or one for each step; 0 accepts what is better and nothing else.

    Raises:
        OptionError: For a number that is out of range.
        NotFiniteError: If :math:`\Phi` is neither finite nor inf, which says that a state is impossible.

    Example:
        >>> from dgmcore.noise import IndexedNoise
        >>> noise = IndexedNoise(seed=0, n=2000)
        >>> start = noise.named({"z": (2,)})
        >>> to_one = lambda eps: -eps["z"].sum(-1)
        >>> *_, last = metropolis(to_one, start, noise, steps=50, step_size=0.8)
        >>> bool((last["z"].mean(0) - 1).abs().max() < 0.1)
        True
    """
    if not 0 < step_size <= 1:
        raise OptionError(f"a Metropolis step of size {step_size:g}", "choose step_size above 0 and at most 1")
    keep = math.sqrt(1 - step_size**2)

    with torch.no_grad():
        now = finite_potential(excess(eps), 0, barred=True)
    for done, t in enumerate(of_each_step(temperature, steps)):
        proposal = tree_map(lambda e: keep * e + step_size * noise.normal(*e.shape[1:]), eps)
        with torch.no_grad():
            then = finite_potential(excess(proposal), done + 1, barred=True)
        # log u < (now - then) / T, without dividing by T
        accepted = t * noise.uniform().log() < now - then
        now = torch.where(accepted, then, now)
        eps = tree_map(lambda e, p, a=accepted: torch.where(a.view(-1, *[1] * (e.dim() - 1)), p, e), eps, proposal)
        if done + 1 == steps:  # a chain that found nothing possible is where it began
            finite_potential(now, steps)
        yield eps
