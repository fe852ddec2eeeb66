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
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from dgmcore import Config
from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

from .chain import Direction

if TYPE_CHECKING:
    from .chain import Bridge

__all__ = ["ProportionalFitting", "Reversal"]

Count = Annotated[int, msgspec.Meta(ge=1, le=100_000_000)]


class Reversal(Phase):
    """Base of phases in which both directions learn the means and the variances of their steps."""

    model: Bridge
    optimizers = ("backward", "onward")

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {name: list(getattr(self.model, name).parameters()) for name in self.optimizers}

    def errors(self, back: Direction, seen: Tensor, target: Tensor, numbers: Tensor) -> Tensor:
        r"""Returns a loss for each of m steps that a direction takes, `(m,)`.

        Weighted by :math:`\gamma_k / \sigma^2` they add up to the relative entropy of the chains, and each has noise of
        about unit variance.

        Arguments:
            back: The direction.
            seen: The states that it leaves, `(m, *event_shape)`.
            target: What the drift's mean is of, `(m, *event_shape)`.
            numbers: The numbers of these states, `(m,)`.
        """

        bridge = self.model
        error = (bridge.drift(back, seen, numbers) - target).flatten(1).square().mean(1)
        if bridge.config.variances == "fitted":
            self.fit(back, error.detach(), numbers)
        return error * bridge.gammas[self.steps(back, numbers)] / bridge.config.sigma**2

    def chosen(self, n: int, each: int | None, noise: Noise) -> Tensor:
        """Returns numbers of steps for each of `n` chains, `(n, each)`; all of them if `each` is None."""

        steps = self.model.config.steps
        if each is None:
            return torch.arange(steps, device=noise.device).expand(n, -1)
        return noise.integers(steps, each)

    @staticmethod
    def steps(back: Direction, numbers: Tensor) -> Tensor:
        """Returns the numbers of the steps that a direction takes from the states `numbers`, `(m,)`."""

        return numbers if back == "to-prior" else numbers - 1

    def fit(self, back: Direction, error: Tensor, numbers: Tensor, rate: float = 0.02) -> None:
        r"""Moves the factors of the variances of a direction towards :math:`\gamma / \sigma^2` times the drift's error.

        Arguments:
            back: The direction.
            error: Mean squared errors of drifts, `(m,)`.
            numbers: The numbers of their states, `(m,)`.
            rate: Of the running mean.
        """

        bridge = self.model
        steps = self.steps(back, numbers)
        seen = torch.bincount(steps, minlength=bridge.config.steps)
        mean = torch.zeros_like(bridge.gammas).index_add(0, steps, error.to(bridge.gammas)) / seen.clamp_min(1)
        row = bridge.factors[int(back == "to-prior")]
        found = torch.lerp(row, mean * bridge.gammas / bridge.config.sigma**2, rate)
        row.copy_(torch.where(seen > 0, found, row))


class ProportionalFitting(Reversal):
    r"""Half iterations of `half` gradient steps each (the first `first`), backward and onward in turn.

    While a direction learns, the other draws chains, from the data or from the prior. For a step of a chain from x to
    x' and its mean F, the network that goes back sees x' and learns

    - `mean-matching`: :math:`F(x) - F(x')` (De Bortoli et al., 2021, equation 12), or
    - `maximum-likelihood`: :math:`x - x'`, whose mean is that of the reversed chain in steps of any length (Vargas et
      al., 2021),

    divided by :math:`\gamma`. Within each half iteration the learning rate falls by a cosine
    to `floor` of what the recipe says, so that what the next one learns from is settled. Variances are fitted by a
    running mean of the squared errors of the steps' means: maximum likelihood too.
    """

    class Options(Config):
        half: Count = 1000
        first: Count | None = None
        target: Literal["mean-matching", "maximum-likelihood"] = "maximum-likelihood"
        each: Count | None = None  # steps of each chain in a gradient step, drawn at random; None: all
        reuse: Count = 1  # gradient steps for which chains are kept
        floor: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.05

    def __init__(self, model: Bridge, options: Any):
        super().__init__(model, options)
        self.kept: dict[str, Tensor] = {}

    def step(self, step: Step) -> None:
        half, index, length = self.place(step.index)
        learns, draws = ("backward", "to-prior") if half % 2 == 0 else ("onward", "to-data")
        share = 0.5 * (1 + math.cos(math.pi * index / length))
        for group in step.optimizer(learns).param_groups:
            group["lr"] *= self.options.floor + (1 - self.options.floor) * share
        x = step.batch()
        noise = step.noise(len(x))
        if index % self.options.reuse == 0:
            if draws == "to-data":
                x = self.model.prior_points(noise.child("start"), "train")
            self.kept = self.chains(draws, x, noise, reference=half == 0)
        step.minimize(self.losses(draws, noise).mean(), learns)

    def place(self, index: int) -> tuple[int, int, int]:
        """Returns the half iteration of a step, its number there, and the length of that half iteration."""

        first, half = self.options.first or self.options.half, self.options.half
        if index < first:
            return 0, index, first
        number, rest = divmod(index - first, half)
        return 1 + number, rest, half

    # --- chains --------------------------------------------------------------------------------

    @torch.no_grad()
    def chains(self, draws: Direction, x: Tensor, noise: Noise, *, reference: bool = False) -> dict[str, Tensor]:
        """Returns chains from `x` on: what the reverse direction sees, `(n, N, *event_shape)`, and what it learns.

        Arguments:
            draws: The direction of the chains.
            x: Where they start, `(n, *event_shape)`.
            noise: Of the chains.
            reference: Whether to draw them from the reference.
        """

        bridge = self.model
        states = list(bridge.chain(draws, x, noise, reference=reference))
        targets = []
        for (here, there), (before, after) in zip(bridge.route(draws), pairwise(states), strict=True):
            target = (before - after) / bridge.gammas[min(here, there)]
            if self.options.target == "mean-matching" and not reference:
                number = torch.tensor(here, device=x.device)
                target = target + bridge.drift(draws, before, number) - bridge.drift(draws, after, number)
            targets.append(target)
        return {"inputs": torch.stack(states[1:], 1), "targets": torch.stack(targets, 1)}

    def losses(self, draws: Direction, noise: Noise) -> Tensor:
        """Returns a loss for each of the steps of the chains that were drawn last, `(m,)`, see :meth:`errors`."""

        inputs = self.kept["inputs"]
        back: Direction = "to-data" if draws == "to-prior" else "to-prior"
        rows = torch.arange(len(inputs), device=inputs.device)[:, None]
        chosen = self.chosen(len(inputs), self.options.each, noise)
        seen, target = (self.kept[key][rows, chosen].flatten(0, 1) for key in ("inputs", "targets"))
        numbers = torch.tensor([there for _, there in self.model.route(draws)], device=seen.device)[chosen].flatten()
        return self.errors(back, seen, target, numbers)

    # --- checkpoints ---------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        return self.kept if self.options.reuse > 1 else {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.kept = dict(state)
