r"""What says whether chains have mixed: acceptance, effective sample size, and R-hat.

References:
    [1] Rank-normalization, folding, and localization: an improved R-hat for assessing convergence of MCMC
        (Vehtari et al., 2021), https://arxiv.org/abs/1903.08008
    [2] Practical Markov chain Monte Carlo (Geyer, 1992)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["effective_size", "r_hat", "rank_normalized", "split_chains"]


def split_chains(draws: Tensor) -> Tensor:
    """Halves each chain: `(chains, draws)` becomes `(2 * chains, draws // 2)`, without an odd draw in the middle."""

    half = draws.shape[1] // 2
    return torch.cat([draws[:, :half], draws[:, draws.shape[1] - half :]])


def rank_normalized(draws: Tensor) -> Tensor:
    r"""Replaces values by normal quantiles of their ranks, :math:`\Phi^{-1}((r - 3/8) / (S + 1/4))` [1, eq. 14].

    Ties share their mean rank.
    """

    flat = draws.flatten().double()
    _, inverse, counts = flat.unique(return_inverse=True, return_counts=True)
    ranks = (counts.cumsum(0).double() - (counts - 1).double() / 2)[inverse]
    return torch.special.ndtri((ranks - 0.375) / (len(flat) + 0.25)).reshape(draws.shape)


def r_hat(draws: Tensor) -> float:
    r"""Returns the rank-normalised split R-hat, the larger of bulk and tail [1, section 4]; 1 where chains have mixed.

    Arguments:
        draws: One quantity of several chains, `(chains, draws)`, at least 4 draws.

    Example:
        >>> mixed = torch.randn(8, 500, generator=torch.Generator().manual_seed(0))
        >>> apart = mixed + torch.arange(8)[:, None]
        >>> r_hat(mixed) < 1.01, r_hat(apart) > 1.5
        (True, True)
    """

    halves = split_chains(draws)
    folded = (halves - halves.median()).abs()
    return max(_basic(rank_normalized(halves)), _basic(rank_normalized(folded)))


def _basic(chains: Tensor) -> float:
    """Returns R-hat of Gelman and Rubin [1, eq. 1 to 4] of `(chains, draws)`."""

    n = chains.shape[1]
    within = float(chains.var(1).mean())
    between = float(chains.mean(1).var()) if len(chains) > 1 else 0.0
    if within == 0:
        return 1.0 if between == 0 else math.inf
    return math.sqrt((n - 1) / n + between / within)


def effective_size(draws: Tensor) -> float:
    r"""Returns the bulk effective sample size of all chains together [1, section 3.2 and eq. 10 to 14].

    Autocorrelations are averaged over chains and summed by Geyer's initial monotone sequence [2].

    Arguments:
        draws: One quantity of several chains, `(chains, draws)`, at least 4 draws.

    Example:
        >>> draws = torch.randn(4, 1000, generator=torch.Generator().manual_seed(0))
        >>> 3000 < effective_size(draws) < 5000
        True
    """

    chains = rank_normalized(split_chains(draws))
    m, n = chains.shape
    total = m * n
    within = float(chains.var(1).mean())
    if within == 0:
        return float(m)  # chains that never moved are worth one draw each at most
    between = float(chains.mean(1).var()) if m > 1 else 0.0
    pooled = (n - 1) / n * within + between
    centred = chains - chains.mean(1, keepdim=True)
    spectrum = torch.fft.rfft(centred, n=2 * n, dim=1).abs().square()
    covariance = torch.fft.irfft(spectrum, n=2 * n, dim=1)[:, :n].mean(0) / n  # biased, mean over chains
    rho = 1 - (within * (n - 1) / n - covariance) / pooled
    rho[0] = 1.0
    sums = (rho[: n // 2 * 2 : 2] + rho[1 : n // 2 * 2 : 2]).tolist()  # of neighbours: positive and falling, in theory
    tau, least = -1.0, math.inf
    for pair in sums:
        if pair < 0:
            break
        least = min(least, pair)
        tau += 2 * least
    tau = max(tau, 1 / math.log10(max(total, 10)))
    return total / tau
