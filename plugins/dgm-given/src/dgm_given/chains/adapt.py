r"""Step sizes and scales of chains, learned in a warm-up: each chain's own, so that no batch changes them.

References:
    [1] The No-U-Turn Sampler (Hoffman & Gelman, 2014), section 3.2, https://arxiv.org/abs/1111.4246
    [2] Optimal Preconditioning and Fisher Adaptive Langevin Sampling (Titsias, 2023), https://arxiv.org/abs/2305.14442
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = ["Scale", "StepSize"]


class StepSize:
    """Dual averaging of the logarithm of a step size [1, eq. 6 and algorithm 5].

    Arguments:
        first: The first step size, `(n, 1)`.
        wanted: The acceptance aimed at.
        most: The largest step size.
    """

    def __init__(self, first: Tensor, wanted: float, most: float = math.inf):
        self.wanted, self.most = wanted, math.log(most)
        self.centre = (10 * first).log().clamp(max=self.most)
        self.log, self.mean, self.gap = first.log(), torch.zeros_like(first), torch.zeros_like(first)
        self.count = 0

    @property
    def value(self) -> Tensor:
        return self.log.exp()

    def update(self, probability: Tensor) -> None:
        """Takes account of a step's probabilities of acceptance, `(n,)`."""

        self.count += 1
        m, gamma, t0, kappa = self.count, 0.05, 10, 0.75
        rate = 1 / (m + t0)
        self.gap = (1 - rate) * self.gap + rate * (self.wanted - probability[:, None])
        self.log = (self.centre - math.sqrt(m) / gamma * self.gap).clamp(max=self.most)
        weight = m**-kappa
        self.mean = weight * self.log + (1 - weight) * self.mean

    def settled(self) -> Tensor:
        """Returns the average, which is what the chain goes on with, `(n, 1)`."""

        return self.mean.exp() if self.count else self.value


class Scale:
    r"""A diagonal preconditioner, the inverse of the mean square of the gradient: :math:`E[\nabla U \nabla U^T] =
    E[\nabla^2 U]` at stationarity [2, section 2]; never above 1, the prior's own scale."""

    def __init__(self, like: Tensor, memory: float = 0.9):
        self.square, self.memory, self.weight = torch.zeros_like(like), memory, 0.0

    def update(self, drift: Tensor) -> None:
        """Takes account of a gradient of U, `(n, D)`."""

        self.square = self.memory * self.square + (1 - self.memory) * drift.square()
        self.weight = self.memory * self.weight + (1 - self.memory)

    def value(self) -> Tensor:
        return 1 / (self.square / max(self.weight, 1e-12)).clamp(min=1.0)
