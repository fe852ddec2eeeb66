r"""Denoising diffusion in discrete time.

:math:`q(x_t \mid x_0) = N(\sqrt{\bar\alpha_t} x_0, (1 - \bar\alpha_t) I)`, `t = 0, ..., T - 1` (the papers' t - 1).

References:
    Denoising Diffusion Probabilistic Models (Ho et al., 2020)
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), sections 2.4.1 and 2.4.2
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Collection, Iterator, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dgmcore import Config, Likelihood, Model, Options
from dgmcore.config import Count, Fraction, Real, Shape
from dgmcore.errors import OptionError
from dgmcore.noise import IndexedNoise, Noise
from dgmcore.sampling.start import start_from

from .labels import Classes, Guidance, Label, guided, labels_of
from .networks import MLP, UNet, build_network, of_pictures, with_network
from .samplers import SAMPLERS, Asked
from .schedules import Schedule, posterior_variances, tables

__all__ = ["DDPM"]


class DDPM(Model):
    r"""A denoising diffusion model.

    Its `Density` is the variational bound of Ho et al. (2020), equation 5, with the variances `variance` and a
    Gaussian last step. `terms` of its T - 1 inner terms, drawn at random, estimate it without bias; default: all.

    The variance of a step is the posterior's (`small`), beta (`large`), or `learned` [1] between the two,
    :math:`\exp(v \log\beta_t + (1 - v) \log\tilde\beta_t)`, of which a second output of the network is 2v - 1.

    References:
        [1] Improved Denoising Diffusion Probabilistic Models (Nichol and Dhariwal, 2021), equations 15 and 16
    """

    class Config(Config):
        event_shape: Shape = (2,)
        network: MLP | UNet | None = None  # None: a perceptron for points, a small U-Net for images
        classes: Classes = 0
        schedule: Schedule = Schedule()
        prediction: Literal["eps", "x0", "v"] = "eps"
        clip: tuple[Real, Real] | None = None  # predictions of x_0 are cut to this range while sampling
        variance: Literal["small", "large", "learned"] = "small"

    class Sampling(Options):
        sampler: Literal["ddpm", "ddim", "dpm-solver++"] = "ddpm"
        steps: Count | None = None  # None: all T
        eta: Fraction = 0.0  # of ddim: 0 deterministic, 1 as noisy as ddpm
        init: Any = None  # a picture `event_shape` to start from: `--init FILE` on the command line
        strength: Fraction = 0.5  # with `init`: the share of the diffusion that the picture is sent through
        label: Label = None
        guidance: Guidance = 1.0

    class Scoring(Options):
        terms: Count | None = None
        label: Label = None

    likelihood = Likelihood.LOWER_BOUND
    phases = {"denoise": "dgm_diffusion.training:Denoise"}
    example = {"network": {"kind": "mlp", "width": 16, "depth": 1}, "schedule": {"steps": 8, "name": "cosine"}}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.config = with_network(self.config)
        c = self.config
        self.event_shape = tuple(c.event_shape)
        self.network = build_network(c.network, self.event_shape, c.classes, 2 if c.variance == "learned" else 1)

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        # a network that says x_0 draws shapes after a thousand steps, where one that says v or the noise draws noise
        config = {"schedule": {"name": "cosine", "steps": 1000}, "prediction": "x0", "clip": [-1, 1]}
        return of_pictures(shape, "denoise", config=config, sampling={"sampler": "ddim", "steps": 50})

    @property
    def betas(self) -> Tensor:
        """The betas, float32 `(T,)`: of all dtypes of weights, as 1 - alpha_bar is 0 in half precision."""

        return tables(self.config.schedule, self.device)[0]

    @property
    def alpha_bar(self) -> Tensor:
        r"""Returns :math:`\bar\alpha_t`, float32 `(T,)`."""

        return tables(self.config.schedule, self.device)[1]

    # --- the network's three ways of saying the same -------------------------------------------

    def outputs(
        self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns what the network predicts for `x` at integer times `t`, `(n,)`, or one time `()`.

        Also the shares v of learned variances, `(n, *event_shape)`, or None.
        """

        if isinstance(self.config.network, MLP):
            t = t.to(x.dtype) * (1000.0 / self.config.schedule.steps)
        asked = (labels, guidance, self.config.classes)
        if torch.is_grad_enabled():
            out = guided(self.network, x, t, *asked)
        else:
            with torch.inference_mode():  # a few percent less around each of a U-Net's hundreds of operations
                out = guided(self.network, x, t, *asked)
            out = out.clone()  # out here a copy is an ordinary tensor again
        if self.config.variance != "learned":
            return out, None
        out, share = out.chunk(2, 1)
        return out, ((share + 1) / 2).clamp(-1, 2)  # far from the data a network may say anything

    def predict(self, x: Tensor, t: Tensor, labels: Tensor | None = None, guidance: float = 1.0) -> Tensor:
        """Returns the network's prediction for `x` at integer times `t`, `(n,)`, or one time `()`."""

        return self.outputs(x, t, labels, guidance)[0]

    def target(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        """Returns what `predict` should return for `x_t = diffuse(x0, eps, t)`."""

        if self.config.prediction == "eps":
            return eps
        if self.config.prediction == "x0":
            return x0
        a, s = self.coefficients(t, x0)
        return a * eps - s * x0

    def denoise(
        self, x: Tensor, t: Tensor, clip: bool = False, labels: Tensor | None = None, guidance: float = 1.0
    ) -> Tensor:
        """Returns the prediction of `x_0`, whatever the network predicts."""

        return self.moments(x, t, clip, labels, guidance)[0]

    def moments(
        self, x: Tensor, t: Tensor, clip: bool = False, labels: Tensor | None = None, guidance: float = 1.0
    ) -> tuple[Tensor, Tensor | None]:
        """Returns the prediction of `x_0`, and the shares of learned variances, as :meth:`outputs`."""

        out, share = self.outputs(x, t, labels, guidance)
        x0 = self.data_of(x, out, t)
        return (x0.clamp(*self.config.clip) if clip and self.config.clip is not None else x0), share

    def data_of(self, x: Tensor, out: Tensor, t: Tensor) -> Tensor:
        """Returns the `x_0` that a prediction `out` for `x` at times `t` stands for."""

        a, s = self.coefficients(t, x)
        if self.config.prediction == "eps":
            return (x - s * out) / a
        return a * x - s * out if self.config.prediction == "v" else out

    def coefficients(self, t: Tensor, like: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns :math:`\sqrt{\bar\alpha_t}` and :math:`\sqrt{1 - \bar\alpha_t}`, shaped to multiply `like`."""

        a = self.alpha_bar[t].reshape(-1, *[1] * (like.ndim - 1))
        return a.sqrt().to(like.dtype), (1 - a).sqrt().to(like.dtype)

    def diffuse(self, x0: Tensor, eps: Tensor, t: Tensor) -> Tensor:
        a, s = self.coefficients(t, x0)
        return a * x0 + s * eps

    # --- drawing -------------------------------------------------------------------------------

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Draws `noise.n` samples; with `init`, pictures that resemble it (SDEdit, Meng et al., 2022).

        Without gradients: those of hundreds of passes of the network would fill the memory.
        """

        return deque(self.trajectory(noise, **options), maxlen=1).pop()

    @torch.no_grad()
    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        total = self.config.schedule.steps
        steps = total if o.steps is None else o.steps
        if not 1 <= steps <= total:
            raise OptionError(f"steps must be from 1 to {total}, not {steps}", "set sampling steps with --set steps=50")
        times = torch.linspace(total - 1, 0, steps, dtype=torch.float64).round().long().unique().flip(0)
        if steps == 1:
            times = torch.tensor([total - 1])
        x = noise.normal(*self.event_shape, name="start")
        if o.init is not None:
            start = start_from(o.init, o.strength, x)
            times = times[len(times) - max(1, round(o.strength * len(times))) :]
            x = self.diffuse(start, x, times[:1].to(x.device).expand(len(x)))
        yield x
        labels = labels_of(o.label, noise, self.config.classes)
        model = self if labels is None else Asked(self, labels, o.guidance)
        yield from SAMPLERS[o.sampler](model, x, times.tolist(), noise, o)

    # --- measuring -----------------------------------------------------------------------------

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the variational bound, nats, `(n,)`."""

        o = self.scoring(options)
        terms = o.terms
        self.refuse_half("log_prob")
        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        labels = labels_of(o.label, noise, self.config.classes)
        total = self.config.schedule.steps
        last = self.alpha_bar[-1]
        prior = 0.5 * (last * x.square() - last - torch.log1p(-last)).flatten(1).sum(1)  # KL(q(x_T | x_0) || N(0, I))
        if terms is None:
            steps = [torch.full((len(x),), t, device=x.device) for t in range(1, total)]
        else:
            drawn = 1 + (noise.uniform(terms, name="times") * (total - 1)).long().clamp_max(total - 2)
            steps = list(drawn.unbind(1))
        bound = torch.zeros_like(prior)
        for i, t in enumerate(steps):
            bound = bound + self._term(x, t, noise.normal(*self.event_shape, name=f"term {i}"), labels)
        first = self._term(x, torch.zeros_like(steps[0]), noise.normal(*self.event_shape, name="first"), labels)
        return -(prior + first + bound * ((total - 1) / len(steps)))

    def _term(self, x0: Tensor, t: Tensor, eps: Tensor, labels: Tensor | None) -> Tensor:
        return self.divergence(x0, *self.moments(self.diffuse(x0, eps, t), t, labels=labels), t)

    def divergence(self, x0: Tensor, guess: Tensor, share: Tensor | None, t: Tensor) -> Tensor:
        r"""Returns :math:`KL(q(x_{t-1} | x_t, x_0) \| p(x_{t-1} | x_t))`, at t = 0 :math:`-\log p(x_0 | x_1)`, `(n,)`.

        Arguments:
            x0: The data.
            guess: The prediction of them from :math:`x_t`.
            share: Of learned variances, or None.
            t: The times, `(n,)`.
        """

        def shaped(values: Tensor) -> Tensor:
            return values[t].reshape(-1, *[1] * (x0.ndim - 1))

        small = posterior_variances(self.betas, self.alpha_bar)
        floor = torch.cat([small[1:2] if len(small) > 1 else self.betas, small[1:]])  # the first has none of its own
        inner = shaped(torch.arange(len(small), device=x0.device)) > 0
        if share is None:
            own = self.betas if self.config.variance == "large" else torch.cat([self.betas[:1], small[1:]])
            log_model = shaped(own.log())
        else:
            log_model = share * shaped(self.betas.log()) + (1 - share) * shaped(floor.log())
        before = torch.cat([torch.ones_like(small[:1]), self.alpha_bar[:-1]])
        weight = before.sqrt() * self.betas / (1 - self.alpha_bar)  # of x_0 in the posterior mean
        squared = (shaped(weight) * (x0 - guess)).square()
        precision = (-log_model).exp()
        kl = log_model - shaped(floor.log()) - 1 + (shaped(floor) + squared) * precision
        nll = log_model + math.log(2 * math.pi) + squared * precision
        return 0.5 * torch.where(inner, kl, nll).expand_as(x0).flatten(1).sum(1)

    # --- files of diffusers --------------------------------------------------------------------

    def tensor_names(self, layout: str, present: Collection[str]) -> dict[str, str]:
        """Returns the names in a file of diffusers; see :func:`dgm_diffusion.convert.names_in_file`."""

        if layout != "diffusers" or not isinstance(self.config.network, UNet):
            return super().tensor_names(layout, present)
        from .convert import names_in_file

        return {f"network.{ours}": theirs for ours, theirs in names_in_file(self.network.state_dict(), present).items()}

    def unet(self) -> nn.Module:
        """Returns the network, for use with diffusers' own pipelines."""

        return self.network
