r"""The variance-preserving SDE :math:`dx = -\frac12 \beta(t) x\,dt + \sqrt{\beta(t)}\,dw`, :math:`t \in [0, 1]`.

References:
    Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021)
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), section 2.4.3
"""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Config, Likelihood, Model, Options
from dgmcore.compose import gradients, leaf
from dgmcore.config import Count, Shape, Whole
from dgmcore.noise import IndexedNoise, Noise

from .networks import MLP, UNet, build_network
from .schedules import Beta, vp_log_alpha_bar

__all__ = ["ScoreSDE"]

Time = Annotated[float, msgspec.Meta(ge=1e-6, lt=1.0)]
Ratio = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]


class ScoreSDE(Model):
    """A score model in continuous time; its default sampler is the probability flow, so it is a Pushforward too."""

    class Config(Config):
        event_shape: Shape = (2,)
        network: MLP | UNet = MLP()
        beta_min: Beta = 0.1
        beta_max: Beta = 20.0
        t_min: Time = 1e-3  # where the flow ends: the data plus noise of variance 1 - alpha_bar(t_min)

    class Sampling(Options):
        sampler: Literal["ode", "euler-maruyama", "predictor-corrector"] = "ode"
        steps: Count = 40
        snr: Ratio = 0.16  # of the corrector (Song et al., 2021, algorithm 5)

    class Scoring(Options):
        steps: Count = 40
        probes: Whole = 0  # Hutchinson probes of the trace; 0: exact trace, in d network gradients a step

    dtypes = (torch.float32, torch.float64)  # the flow's steps are smaller than the roundings of others
    likelihood = Likelihood.ESTIMATE  # of the discretised flow, from a prior that is only nearly N(0, I)
    phases = {"score": "dgm_diffusion.training:MatchScore"}
    example = {"network": {"kind": "mlp", "width": 16, "depth": 1}}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.config.event_shape)
        self.network = build_network(self.config.network, self.event_shape)

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"x": self.event_shape}

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

    def eps(self, x: Tensor, t: Tensor) -> Tensor:
        r"""The predicted noise, :math:`-\sigma(t)` times the score, for times `(n,)`, or one time `()`."""

        out = self.network(x, t * 1000.0)
        return out if isinstance(out, Tensor) else out.sample

    def gradient_field(self, x: Tensor, t: Tensor) -> Tensor:
        r"""The predicted :math:`\nabla_x \log p_t(x)`, of noised data at times `t`, `(n,)` or `()`."""

        return -self.eps(x, t) / self.marginal(t, x)[1]

    def drift(self, x: Tensor, t: Tensor) -> Tensor:
        """The probability flow's velocity (Song et al., 2021, equation 13) at one time, a scalar tensor."""

        return -0.5 * self.beta(t) * (x + self.gradient_field(x, t))

    def grid(self, steps: int, like: Tensor) -> Tensor:
        """Returns `steps + 1` times from `t_min` to 1, dense where the noise is small: equal steps in log-SNR."""

        u = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
        t = self.time_by_snr(u)
        t[0], t[-1] = self.config.t_min, 1.0
        return t.to(like)

    # --- drawing -------------------------------------------------------------------------------

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        """Maps noise to data by the probability flow, with the default number of steps."""
        return self.decode(eps["x"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        return deque(self.trajectory(noise, **options), maxlen=1).pop()

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        x = noise.normal(*self.event_shape, name="x")
        times = self.grid(o.steps, x).flip(0)
        if o.sampler == "ode":
            yield from self._flow(x, times)
        else:
            yield from self._reverse(x, times, noise, o)

    def _flow(self, x: Tensor, times: Tensor) -> Iterator[Tensor]:
        from torchdiffeq import odeint

        yield x
        for a, b in itertools.pairwise(times):
            x = odeint(lambda t, y: self.drift(y, t), x, torch.stack([a, b]), method="rk4")[-1]
            yield x

    def _reverse(self, x: Tensor, times: Tensor, noise: Noise, o: Any) -> Iterator[Tensor]:
        """Euler-Maruyama on the reverse SDE (equation 6), with a Langevin corrector (algorithm 5) if asked for."""

        yield x
        for i, (t, s) in enumerate(itertools.pairwise(times)):
            dt, beta = t - s, self.beta(t)
            score = self.gradient_field(x, t)
            x = x + (0.5 * beta * x + beta * score) * dt
            if i + 2 < len(times):
                x = x + (beta * dt).sqrt() * noise.normal(*self.event_shape)
            if o.sampler == "predictor-corrector":
                score = self.gradient_field(x, s)
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
        return deque(self._flow(x, times), maxlen=1).pop()

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        r"""Integrates :math:`\frac{d}{dt} \log p_t(x_t) = -\nabla \cdot v` along the flow (equation 39), `(n,)`."""

        from torchdiffeq import odeint

        o = self.scoring(options)
        noise = noise or IndexedNoise.like(x)
        d = math.prod(self.event_shape)
        probes = [noise.normal(*self.event_shape).sign() for _ in range(o.probes)]
        higher = torch.is_grad_enabled()

        def field(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
            with gradients():
                y = state[0] if state[0].requires_grad else leaf(state[0])
                v = self.drift(y, t.clone())  # in inference mode times are no tensors that autograd keeps
                trace = _trace(v, y, probes, d, higher)
            return (v, trace) if higher else (v.detach(), trace.detach())

        state = (x, torch.zeros(len(x), dtype=x.dtype, device=x.device))
        times = self.grid(o.steps, x)
        for a, b in itertools.pairwise(times):
            state = tuple(s[-1] for s in odeint(field, state, torch.stack([a, b]), method="rk4"))
        z, change = state
        return -0.5 * z.flatten(1).square().sum(1) - 0.5 * d * math.log(2 * math.pi) + change


def _trace(v: Tensor, y: Tensor, probes: list[Tensor], d: int, higher: bool) -> Tensor:
    """Returns the divergence of `v` in `y`, `(n,)`: exact, or by Hutchinson's estimator with the given probes."""

    if probes:
        terms = [
            (torch.autograd.grad(v, y, e, create_graph=higher, retain_graph=True)[0] * e).flatten(1).sum(1)
            for e in probes
        ]
        return torch.stack(terms).mean(0)
    flat = v.flatten(1)
    rows = [
        torch.autograd.grad(flat[:, i].sum(), y, create_graph=higher, retain_graph=True)[0].flatten(1)[:, i]
        for i in range(d)
    ]
    return torch.stack(rows).sum(0)
