r"""The variance-preserving SDE :math:`dx = -\frac12 \beta(t) x\,dt + \sqrt{\beta(t)}\,dw`, :math:`t \in [0, 1]`.

References:
    Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021)
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), section 2.4.3
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Likelihood, Options
from dgmcore.noise import Noise

from .labels import Guidance, Label, Timed
from .odes import Field, Probes, Solver, Steps, log_density, log_normal, solve
from .schedules import Beta, vp_log_alpha_bar

__all__ = ["ScoreSDE"]

Time = Annotated[float, msgspec.Meta(ge=1e-6, lt=1.0)]
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]


class ScoreSDE(Timed):
    """A score model in continuous time; its default sampler is the probability flow, so it is a Pushforward too."""

    class Config(Timed.Config):
        beta_min: Beta = 0.1
        beta_max: Beta = 20.0
        t_min: Time = 1e-3  # where the flow ends: the data plus noise of variance 1 - alpha_bar(t_min)

    class Sampling(Options):
        sampler: Literal["ode", "euler-maruyama", "predictor-corrector"] = "ode"
        solver: Solver = "rk4"  # of the flow
        steps: Steps = 40
        snr: Annotated[float, msgspec.Meta(gt=0, le=1)] = 0.16  # of the corrector (Song et al., 2021, algorithm 5)
        label: Label = None
        guidance: Guidance = 1.0

    class Scoring(Options):
        solver: Solver = "rk4"
        steps: Steps = 40
        label: Label = None
        probes: Probes = 0

    dtypes = (torch.float32, torch.float64)  # the flow's steps are smaller than the roundings of others
    likelihood = Likelihood.ESTIMATE  # of the discretised flow, from a prior that is only nearly N(0, I)
    phases = {"score": "dgm_diffusion.training:MatchScore"}

    # --- the SDE -------------------------------------------------------------------------------

    def marginal(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the mean's factor and the standard deviation of :math:`q(x_t | x_0)`, shaped to multiply `like`."""

        log = vp_log_alpha_bar(t, self.config.beta_min, self.config.beta_max)
        shape = (-1, *[1] * (like.ndim - 1))
        return (0.5 * log).exp().reshape(shape), (-torch.expm1(log)).sqrt().reshape(shape)

    def beta(self, t: Tensor | float) -> Any:
        return self.config.beta_min + t * (self.config.beta_max - self.config.beta_min)

    def time_by_snr(self, u: Tensor) -> Tensor:
        r"""Carries uniform `u` to times with density proportional to :math:`\beta / \sigma^2`.

        :math:`\int \beta/\sigma^2 = \log(e^{B} - 1)` with :math:`B = \int\beta`, which is inverted in closed form.
        """

        low, high = (math.log(math.expm1(self._integral(t))) for t in (self.config.t_min, 1.0))
        b = torch.log1p(torch.exp(low + u * (high - low)))
        slope, start = self.config.beta_max - self.config.beta_min, self.config.beta_min
        return (2 * b) / (start + torch.sqrt(start**2 + 2 * slope * b))

    def _integral(self, t: float) -> float:
        return 0.5 * t**2 * (self.config.beta_max - self.config.beta_min) + t * self.config.beta_min

    def eps(self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        r"""The predicted noise, :math:`-\sigma(t)` times the score, for times `(n,)`, or one time `()`."""

        return self.predicted(x, t * 1000.0, labels, guidance)

    def gradient_field(self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        r"""The predicted :math:`\nabla_x \log p_t(x)`, of noised data at times `t`, `(n,)` or `()`."""

        return -self.eps(x, t, labels, guidance) / self.marginal(t, x)[1]

    def drift(self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """The probability flow's velocity (Song et al., 2021, equation 13) at one time, a scalar tensor."""

        return -0.5 * self.beta(t) * (x + self.gradient_field(x, t, labels, guidance))

    def grid(self, steps: int, like: Tensor) -> Tensor:
        """Returns `steps + 1` times from `t_min` to 1, dense where the noise is small: equal steps in log-SNR."""

        u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        t = self.time_by_snr(u)
        t[0], t[-1] = self.config.t_min, 1.0
        return t.to(like)

    # --- drawing -------------------------------------------------------------------------------

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        asked = {"labels": self.labels(o.label, noise), "guidance": o.guidance}
        x = noise.normal(*self.event_shape, name="x")
        times = self.grid(o.steps, x).flip(0)
        if o.sampler == "ode":
            yield from solve(partial(self.drift, **asked), x, times, o.solver)
        else:
            yield from self._reverse(partial(self.gradient_field, **asked), x, times, noise, o)

    def _reverse(self, gradient_field: Field, x: Tensor, times: Tensor, noise: Noise, o: Any) -> Iterator[Tensor]:
        """Euler-Maruyama on the reverse SDE (equation 6), with a Langevin corrector (algorithm 5) if asked for."""

        yield x
        for i, (t, s) in enumerate(itertools.pairwise(times)):
            dt, beta = t - s, self.beta(t)
            score = gradient_field(x, t)
            x = x + (0.5 * beta * x + beta * score) * dt
            if i + 2 < len(times):
                x = x + (beta * dt).sqrt() * noise.normal(*self.event_shape)
            if o.sampler == "predictor-corrector":
                score = gradient_field(x, s)
                z = noise.normal(*self.event_shape)
                alpha = 1 - beta * dt
                # the expected ratio of the norms of z and the score, not that of the batch
                step = 2 * alpha.clamp_min(1e-3) * (o.snr * self.marginal(s, x)[1]) ** 2
                if i + 2 < len(times):
                    x = x + step * score + (2 * step).sqrt() * z
            yield x

    # --- coding and measuring ------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Carries data to noise along the flow."""
        return self._ends(x, self.grid(self.Sampling().steps, x))

    def decode(self, z: Tensor) -> Tensor:
        return self._ends(z, self.grid(self.Sampling().steps, z).flip(0))

    def _ends(self, x: Tensor, times: Tensor) -> Tensor:
        return deque(solve(self.drift, x, times), maxlen=1).pop()

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        r"""Integrates :math:`\frac{d}{dt} \log p_t(x_t) = -\nabla \cdot v` along the flow (equation 39), `(n,)`."""

        o = self.scoring(options)
        labels, probes = self.scored(x, noise, o)
        return log_density(partial(self.drift, labels=labels), x, self.grid(o.steps, x), log_normal, probes, o.solver)
