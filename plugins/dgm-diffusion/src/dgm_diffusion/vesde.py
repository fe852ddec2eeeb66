r"""The variance-exploding SDE :math:`dx = \sqrt{d\sigma^2 / dt}\,dw`, and noise-conditional score networks.

Noised data are :math:`x_\sigma = x_0 + \sigma \epsilon`, for levels :math:`\sigma` from `sigma_min` to `sigma_max`.

References:
    Generative Modeling by Estimating Gradients of the Data Distribution (Song and Ermon, 2019), algorithm 1
    Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021)
    Elucidating the Design Space of Diffusion-Based Generative Models (Karras et al., 2022)
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), equation 2.68
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Likelihood, Options
from dgmcore.noise import Noise

from .labels import Guidance, Label, Timed
from .odes import Field, Probes, Steps, log_density, log_normal, solve

__all__ = ["VESDE"]

Positive = Annotated[float, msgspec.Meta(gt=0, le=1e4)]
RHO = 7.0  # how levels of the flow and of the SDE are spaced (Karras et al., equation 5)


class VESDE(Timed):
    r"""A denoiser :math:`D(x, \sigma)`, the mean of :math:`x_0` given :math:`x_\sigma`.

    Its score is :math:`(D(x, \sigma) - x) / \sigma^2`. Its default sampler is the probability flow
    :math:`dx / d\sigma = (x - D(x, \sigma)) / \sigma`, so it is a pushforward, an encoder and a density too.
    """

    class Config(Timed.Config):
        sigma_min: Positive = 0.01  # where everything ends: the data plus noise of this level
        sigma_max: Positive = 20.0  # from which on noised data are nearly N(0, sigma_max^2 I)
        sigma_data: Positive = 0.5  # the data's standard deviation, about

    class Sampling(Options):
        sampler: Literal["ode", "reverse-diffusion", "predictor-corrector", "annealed-langevin"] = "ode"
        steps: Steps = 40  # levels
        corrections: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 1  # steps of Langevin dynamics at each level
        snr: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.16  # of predictor-corrector
        #: Of annealed Langevin dynamics: the step in units of the level's variance, epsilon / sigma_min^2.
        step_size: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.2
        label: Label = None
        guidance: Guidance = 1.0

    class Scoring(Options):
        steps: Steps = 40
        label: Label = None
        probes: Probes = 0

    likelihood = Likelihood.ESTIMATE  # of the discretised flow, from a prior that is only nearly normal
    phases = {"score": "dgm_diffusion.training:MatchDenoiser"}
    example = {**Timed.example, "sigma_min": 0.05}

    # --- the network ---------------------------------------------------------------------------

    def denoise(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        r"""Returns :math:`D = c_s x + c_o F(c_i x, t(\sigma))`, scaled as by Karras et al., table 1.

        Arguments:
            x: Noised data, `(n, *event_shape)`.
            sigma: Their levels, `(n,)`, or one for all, `()`.
            labels: Classes, `(n,)`, or None.
            guidance: The weight of classifier-free guidance.
        """

        level = sigma.view(-1, *[1] * (x.ndim - 1))
        data = self.config.sigma_data
        total = (level.square() + data**2).sqrt()
        low, high = math.log(self.config.sigma_min), math.log(self.config.sigma_max)
        t = 1000.0 * (sigma.log() - low) / (high - low)
        out = self.predicted(x / total, t, labels, guidance)
        return (data / total).square() * x + level * data / total * out

    def gradient_field(self, x: Tensor, sigma: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        r"""The predicted :math:`\nabla_x \log p_\sigma(x)`, of noised data at levels `(n,)` or `()`."""

        level = sigma.view(-1, *[1] * (x.ndim - 1))
        return (self.denoise(x, sigma, labels, guidance) - x) / level.square()

    def drift(self, labels: Tensor | None = None, guidance: float = 1.0) -> Field:
        r"""Returns the velocity of the probability flow, a function of points and one level :math:`\sigma`."""

        return lambda x, sigma: (x - self.denoise(x, sigma, labels, guidance)) / sigma

    def levels(self, steps: int, like: Tensor, rho: float = RHO) -> Tensor:
        r"""Returns `steps + 1` falling levels, even in :math:`\sigma^{1/\rho}`; for an infinite rho geometric."""

        u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        high, low = self.config.sigma_max, self.config.sigma_min
        if math.isinf(rho):
            sigma = high * (low / high) ** u
        else:
            sigma = (high ** (1 / rho) + u * (low ** (1 / rho) - high ** (1 / rho))) ** rho
        return sigma.to(like)

    # --- drawing -------------------------------------------------------------------------------

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        labels = self.labels(o.label, noise)
        x = self.config.sigma_max * noise.normal(*self.event_shape, name="x")
        if o.sampler == "ode":
            yield from solve(self.drift(labels, o.guidance), x, self.levels(o.steps, x), "heun")
        elif o.sampler == "annealed-langevin":
            yield from self._annealed(x, labels, noise, o)
        else:
            yield from self._reverse(x, labels, noise, o)

    def _annealed(self, x: Tensor, labels: Tensor | None, noise: Noise, o: Any) -> Iterator[Tensor]:
        r"""Langevin dynamics at ever lower levels, with steps :math:`\alpha_i \propto \sigma_i^2`; then a denoising."""

        yield x
        for sigma in self.levels(o.steps, x, math.inf):
            for _ in range(o.corrections):
                step = o.step_size * sigma.square()
                score = self.gradient_field(x, sigma, labels, o.guidance)
                x = x + 0.5 * step * score + step.sqrt() * noise.normal(*self.event_shape)
            yield x
        yield self.denoise(x, sigma, labels, o.guidance)

    def _reverse(self, x: Tensor, labels: Tensor | None, noise: Noise, o: Any) -> Iterator[Tensor]:
        """The reverse SDE (Song et al., 2021, algorithm 2), with a Langevin corrector if asked for; then a denoising.

        The corrector's step is from the expected norms of noise and score, not from the batch's.
        """

        yield x
        for high, low in itertools.pairwise(self.levels(o.steps, x)):
            score = self.gradient_field(x, high, labels, o.guidance)
            gap = high.square() - low.square()
            x = x + gap * score + gap.sqrt() * noise.normal(*self.event_shape)
            for _ in range(o.corrections if o.sampler == "predictor-corrector" else 0):
                step = 2 * (o.snr * low).square()
                score = self.gradient_field(x, low, labels, o.guidance)
                x = x + step * score + (2 * step).sqrt() * noise.normal(*self.event_shape)
            yield x
        yield self.denoise(x, low, labels, o.guidance)

    # --- coding and measuring ------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Carries data to noise of unit variance along the flow."""

        levels = self.levels(self.Sampling().steps, x).flip(0)
        return deque(solve(self.drift(), x, levels, "heun"), maxlen=1).pop() / self.config.sigma_max

    def decode(self, z: Tensor) -> Tensor:
        levels = self.levels(self.Sampling().steps, z)
        return deque(solve(self.drift(), self.config.sigma_max * z, levels, "heun"), maxlen=1).pop()

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the density of the probability flow, with `label` that of the class, nats, `(n,)`."""

        o = self.scoring(options)
        labels, probes = self.scored(x, noise, o)
        top = self.config.sigma_max

        def base(z: Tensor) -> Tensor:
            return log_normal(z / top) - math.prod(self.event_shape) * math.log(top)

        return log_density(self.drift(labels), x, self.levels(o.steps, x).flip(0), base, probes)
