r"""Flow matching: a velocity that carries noise at t = 0 to data at t = 1.

References:
    Flow Matching for Generative Modeling (Lipman et al., 2023), https://arxiv.org/abs/2210.02747
    Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow (Liu et al., 2023)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dgmcore import Likelihood, Options
from dgmcore.noise import Noise

from ..labels import Guidance, Label, Timed
from ..odes import Probes, Solver, Steps, Tolerance, log_density, log_normal, solve

__all__ = ["FlowMatching", "Velocity"]


class Velocity(Timed):
    r"""Base of models whose network is a velocity :math:`v(x, t \mid y)`, perhaps of classes y."""

    def velocity(self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """Returns the velocity at `x` and times `(n,)`, or one time `()`, `(n, *event_shape)`.

        Arguments:
            x: Points, `(n, *event_shape)`.
            t: Times in [0, 1].
            labels: Classes, `(n,)`, or None.
            guidance: The weight of classifier-free guidance, see :func:`dgm_diffusion.labels.guided`.
        """

        return self.predicted(x, t * 1000.0, labels, guidance)


class FlowMatching(Velocity):
    r"""The flow :math:`x' = v(x, t)` with the mean of :math:`x_1 - x_0` given :math:`x_t = (1 - t) x_0 + t x_1` as v.

    A generator by any of five solvers, with a class and guidance where it was trained with labels; a pushforward and
    an encoder by its default solver; and a density by the change of variables along the flow without guidance.
    """

    class Sampling(Options):
        solver: Solver = "midpoint"
        steps: Steps = 20
        tolerance: Tolerance = 1e-6  # of dopri5
        label: Label = None
        guidance: Guidance = 1.0

    class Scoring(Options):
        solver: Solver = "rk4"
        steps: Steps = 40
        tolerance: Tolerance = 1e-6
        label: Label = None
        probes: Probes = 0

    likelihood = Likelihood.ESTIMATE  # of the discretised flow
    phases = {"match": "dgm_diffusion.flowmatching.phases:Match"}

    # --- drawing -------------------------------------------------------------------------------

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        labels = self.labels(o.label, noise)
        x = noise.normal(*self.event_shape, name="x")

        def field(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity(x, t, labels, o.guidance)

        yield from solve(field, x, self.times(o.steps, x), o.solver, o.tolerance)

    @staticmethod
    def times(steps: int, like: Tensor) -> Tensor:
        """Returns `steps + 1` equidistant times from 0 to 1."""
        return torch.linspace(0, 1, steps + 1, dtype=like.dtype, device=like.device)

    # --- coding and measuring ------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Carries data to noise along the flow, by the scoring's default solver."""

        o = self.Scoring()
        return deque(solve(self.velocity, x, self.times(o.steps, x).flip(0), o.solver), maxlen=1).pop()

    def decode(self, z: Tensor) -> Tensor:
        o = self.sampling()
        return deque(solve(self.velocity, z, self.times(o.steps, z), o.solver), maxlen=1).pop()

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the density of the flow, with `label` that of the class, nats, `(n,)`."""

        o = self.scoring(options)
        labels, probes = self.scored(x, noise, o)

        def field(x: Tensor, t: Tensor) -> Tensor:
            return self.velocity(x, t, labels)

        return log_density(field, x, self.times(o.steps, x).flip(0), log_normal, probes, o.solver, o.tolerance)
