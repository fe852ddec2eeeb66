r"""Iterative proportional fitting: each direction learns to reverse the chain of the other, in turn.

References:
    Diffusion Schroedinger Bridge with Applications to Score-Based Generative Modeling (De Bortoli et al., 2021),
    algorithm 1
    Solving Schroedinger Bridges via Maximum Likelihood (Vargas et al., 2021)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import torch
from torch import Tensor, nn

from dgmcore import Config
from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

from .chain import Direction

if TYPE_CHECKING:
    from .chain import Bridge

__all__ = ["ProportionalFitting"]

Count = Annotated[int, msgspec.Meta(ge=1)]


class ProportionalFitting(Phase):
    r"""Half iterations of `half` gradient steps each (the first `first`), backward and onward in turn.

    While a direction learns, the other draws chains, from the data or from the prior. For a step of a chain from x to
    x' and its mean F, the network that goes back sees x' and learns

    - `mean-matching`: :math:`F(x) - F(x')` (De Bortoli et al., 2021, equation 12), or
    - `maximum-likelihood`: :math:`x - x'`, whose mean is that of the reversed chain in steps of any length (Vargas et
      al., 2021),

    divided by :math:`\gamma` and by the drift's scale. Within each half iteration the learning rate falls by a cosine
    to `floor` of what the recipe says, so that what the next one learns from is settled. Variances are fitted by a
    running mean of the squared errors of the steps' means: maximum likelihood too.
    """

    model: Bridge
    optimizers = ("backward", "onward")

    class Options(Config):
        half: Count = 1000
        first: Count | None = None
        target: Literal["mean-matching", "maximum-likelihood"] = "maximum-likelihood"
        pairs: Count | None = None  # steps of chains in a gradient step, chosen at random; None: all
        floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {name: list(getattr(self.model, name).parameters()) for name in self.optimizers}

    def step(self, step: Step) -> None:
        half, share = self.place(step.index)
        learns, draws = ("backward", "to-prior") if half % 2 == 0 else ("onward", "to-data")
        for group in step.optimizer(learns).param_groups:
            group["lr"] *= self.options.floor + (1 - self.options.floor) * 0.5 * (1 + math.cos(math.pi * share))
        x = step.batch()
        noise = step.noise(len(x))
        if draws == "to-data":
            x = self.model.prior_points(noise.child("start"), "train")
        step.minimize(self.losses(draws, x, noise).mean(), learns)

    def place(self, index: int) -> tuple[int, float]:
        """Returns the half iteration of a step, and the share of it that is done."""

        first, half = self.options.first or self.options.half, self.options.half
        if index < first:
            return 0, index / first
        number, rest = divmod(index - first, half)
        return 1 + number, rest / half

    def losses(self, draws: Direction, x: Tensor, noise: Noise) -> Tensor:
        """Returns a loss for each pair of states of the chains that start in `x` and go in the direction `draws`."""

        bridge = self.model
        back: Direction = "to-data" if draws == "to-prior" else "to-prior"
        inputs, targets, numbers = self.pairs(draws, x, noise)
        if self.options.pairs is not None and self.options.pairs < len(inputs):
            chosen = noise.with_n(1).uniform(len(inputs))[0].argsort()[: self.options.pairs]
            inputs, targets, numbers = inputs[chosen], targets[chosen], numbers[chosen]
        error = (bridge.drift(back, inputs, numbers) - targets).flatten(1).square().mean(1)
        if bridge.config.variances == "fitted":
            self.fit(back, error.detach(), numbers)
        return error / bridge.scale(back, numbers).square()

    def fit(self, back: Direction, error: Tensor, numbers: Tensor, rate: float = 0.02) -> None:
        r"""Moves the factors of the variances of a direction towards :math:`\gamma / \sigma^2` times the drift's error.

        Arguments:
            back: The direction.
            error: Mean squared errors of drifts, `(m,)`.
            numbers: The numbers of their states, `(m,)`.
            rate: Of the running mean.
        """

        bridge = self.model
        steps = numbers if back == "to-prior" else numbers - 1
        seen = torch.bincount(steps, minlength=bridge.config.steps)
        mean = torch.zeros_like(bridge.gammas).index_add(0, steps, error) / seen.clamp_min(1)
        found = torch.where(seen > 0, mean * bridge.gammas / bridge.config.sigma**2, 1.0)
        row = bridge.factors[int(back == "to-prior")]
        row.copy_(torch.where(seen > 0, torch.lerp(row, found, rate), row))

    @torch.no_grad()
    def pairs(self, draws: Direction, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        """Returns what the reverse direction sees, the drift that it learns, and the numbers of the states."""

        bridge, found = self.model, []
        states = list(bridge.chain(draws, x, noise))
        for (here, there), (before, after) in zip(bridge.route(draws), pairwise(states), strict=True):
            gamma = bridge.gammas[min(here, there)]
            target = (before - after) / gamma
            if self.options.target == "mean-matching":
                number = torch.tensor(here, device=x.device)
                target = target + bridge.drift(draws, before, number) - bridge.drift(draws, after, number)
            found.append((after, target, torch.full((len(x),), there, device=x.device)))
        inputs, targets, numbers = (torch.cat(parts) for parts in zip(*found, strict=True))
        return inputs, targets, numbers
