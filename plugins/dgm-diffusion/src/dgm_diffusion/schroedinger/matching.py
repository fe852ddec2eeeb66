r"""Bridge matching: both directions learn the Schroedinger bridge from its coupling, without chains.

References:
    Simulation-Free Schroedinger Bridges via Score and Flow Matching (Tong et al., 2024),
    https://arxiv.org/abs/2307.03672
    Diffusion Schroedinger Bridge Matching (Shi et al., 2023), https://arxiv.org/abs/2303.16852
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dgmcore import Config
from dgmcore.noise import Noise
from dgmcore.training import Step

from .phases import Count, Reversal
from .sinkhorn import sinkhorn

if TYPE_CHECKING:
    from .chain import Bridge, Direction

__all__ = ["BridgeMatching"]


class BridgeMatching(Reversal):
    r"""Regression on Brownian bridges between ends that entropic optimal transport has coupled.

    The Schroedinger bridge is the mixture of the reference's bridges between ends :math:`(x_0, x_1)` of the coupling
    with the regularisation :math:`2 \sigma^2`. Sinkhorn's algorithm finds it for a batch of data and as many points of
    the prior, pairs are drawn from it, and at the state number k

    .. math:: X_k = (1 - t) x_0 + t x_1 + \sigma \sqrt{t (1 - t)}\, Z, \qquad t = t_k,

    the drifts learn :math:`(x_0 - X_k) / t` to the data and :math:`(x_1 - X_k) / (1 - t)` to the prior. The means of
    these are exact for steps of any length. A coupling of n points is that of the two laws as n grows: batches are
    large, and one coupling serves `reuse` gradient steps, with other pairs in each.
    """

    class Options(Config):
        each: Count | None = None  # steps of each pair in a gradient step, drawn at random; None: all
        reuse: Count = 1  # gradient steps for which a coupling is kept

    def __init__(self, model: Bridge, options: Any):
        super().__init__(model, options)
        self.kept: dict[str, Tensor] = {}

    def step(self, step: Step) -> None:
        x = step.batch()
        noise = step.noise(len(x))
        if step.index % self.options.reuse == 0:
            self.kept = self.coupled(x, self.model.prior_points(noise.child("start"), "train"))
        x, y = self.pairs(noise)
        back: Direction
        for name, back in (("backward", "to-data"), ("onward", "to-prior")):
            step.minimize(self.losses(back, x, y, noise).mean(), name)

    @torch.no_grad()
    def coupled(self, x: Tensor, y: Tensor) -> dict[str, Tensor]:
        """Returns the ends `x` and `y`, and the plan between them as cumulative sums of its rows, `(n, n)`."""

        plan = sinkhorn(x, y, 2 * self.model.config.sigma**2, tolerance=1e-3).plan
        return {"x": x, "y": y, "plan": (plan / plan.sum(1, keepdim=True)).cumsum(1).float()}

    def pairs(self, noise: Noise) -> tuple[Tensor, Tensor]:
        """Returns pairs of the coupling that was found last: each x with a y of its row."""

        plan = self.kept["plan"]
        chosen = torch.searchsorted(plan, noise.uniform(1).to(plan))[:, 0].clamp_max(plan.shape[1] - 1)
        return self.kept["x"], self.kept["y"][chosen]

    def losses(self, back: Direction, x: Tensor, y: Tensor, noise: Noise) -> Tensor:
        """Returns a loss for each of the steps between the pairs `x` and `y`, `(m,)`, see :meth:`errors`."""

        bridge, shape = self.model, (-1, *[1] * (x.ndim - 1))
        steps = self.chosen(len(x), self.options.each, noise)
        rows = torch.arange(len(x), device=x.device)[:, None].expand_as(steps).flatten()
        numbers = steps.flatten() + (1 if back == "to-data" else 0)
        left = bridge.left(back)[numbers]
        t = (left if back == "to-data" else 1 - left).clamp(0, 1)
        z = noise.normal(steps.shape[1], *bridge.event_shape).flatten(0, 1)
        start, end = x[rows], y[rows]
        seen = torch.lerp(start, end, t.view(shape)) + bridge.config.sigma * (t * (1 - t)).sqrt().view(shape) * z
        target = ((start if back == "to-data" else end) - seen) / left.view(shape)
        return self.errors(back, seen, target, numbers)

    def fit(self, back: Direction, error: Tensor, numbers: Tensor, rate: float = 0.02) -> None:
        """Adds to the errors what a bridge's step has of its own: the targets are means of its steps."""

        bridge = self.model
        left, gamma = bridge.left(back)[numbers], bridge.gammas[self.steps(back, numbers)]
        own = bridge.config.sigma**2 / gamma * (1 - gamma / left).clamp_min(0)
        super().fit(back, error + own, numbers, rate)

    # --- checkpoints ---------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        return self.kept if self.options.reuse > 1 else {}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self.kept = dict(state)
