"""Training phases of diffusion models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Config
from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

from .labels import dropped

if TYPE_CHECKING:
    from .ddpm import DDPM
    from .scoresde import ScoreSDE
    from .vesde import VESDE

__all__ = ["Denoise", "LabelledRegression", "MatchDenoiser", "MatchScore", "Regression", "spread"]


def spread(noise: Noise, like: Tensor) -> Tensor:
    """Returns `(n,)` numbers in [0, 1): one random number spread over the batch covers all times in every step."""

    return (noise.uniform()[:1] + torch.arange(len(like), dtype=like.dtype, device=like.device) / len(like)) % 1.0


class Regression(Phase):
    """Minimises the mean of `losses`, and is validated by them."""

    def losses(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns a loss for each datum, `(n,)`."""
        raise NotImplementedError

    def step(self, step: Step) -> None:
        x = step.batch()
        loss = self.losses(x, step.noise(len(x))).mean()
        step.minimize(loss)
        step.log(loss=loss.detach())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return self.losses(x, noise)


class LabelledRegression(Regression):
    """A regression that sees labels where its model has classes; a share of them is hidden, for guidance."""

    class Options(Config):
        drop_label: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1

    def losses(self, x: Tensor, noise: Noise, labels: Tensor | None = None) -> Tensor:
        """Returns a loss for each datum, `(n,)`; labels `(n,)`, or None: none."""
        raise NotImplementedError

    def step(self, step: Step) -> None:
        x = step.batch()
        labels = step.labels() if self.model.config.classes else None
        step.minimize(self.losses(x, step.noise(len(x)), labels).mean())

    def hidden(self, labels: Tensor | None, noise: Noise) -> Tensor | None:
        """Returns the labels that the network sees, `(n,)`."""

        return None if labels is None else dropped(labels, self.options.drop_label, self.model.config.classes, noise)


class Denoise(LabelledRegression):
    r"""The simple loss of DDPM (Ho et al., 2020, equation 14): the squared error of what the network predicts.

    Where variances are learned, plus `bound_weight` times an estimate of the variational bound, in nats per dimension,
    whose gradient reaches the variances only (Nichol and Dhariwal, 2021, equation 16).
    """

    model: DDPM

    class Options(LabelledRegression.Options):
        bound_weight: Annotated[float, msgspec.Meta(ge=0, le=10)] = 0.001

    def losses(self, x: Tensor, noise: Noise, labels: Tensor | None = None) -> Tensor:
        model = self.model
        total = model.config.schedule.steps
        t = noise.integers(total)
        eps = noise.normal(*x.shape[1:])
        at = model.diffuse(x, eps, t)
        out, share = model.outputs(at, t, self.hidden(labels, noise))
        simple = (out - model.target(x, eps, t)).square().flatten(1).mean(1)
        if share is None:
            return simple
        term = model.divergence(x, model.data_of(at, out.detach(), t), share, t) / x[0].numel()
        return simple + self.options.bound_weight * total * term


class MatchScore(LabelledRegression):
    r"""Denoising score matching over continuous time (Song et al., 2021, equation 7).

    `weighting: simple` weighs by :math:`\sigma(t)^2`; `likelihood` by :math:`g(t)^2`, which bounds the likelihood of
    the flow (Maximum Likelihood Training of Score-Based Diffusion Models, Song et al., 2021, theorem 1), its times
    drawn in proportion to :math:`g^2 / \sigma^2`.
    """

    model: ScoreSDE

    class Options(LabelledRegression.Options):
        weighting: Literal["simple", "likelihood"] = "simple"

    def losses(self, x: Tensor, noise: Noise, labels: Tensor | None = None) -> Tensor:
        sde = self.model
        u = spread(noise, x)
        if self.options.weighting == "likelihood":
            t = sde.time_by_snr(u)
        else:
            t = sde.config.t_min + u * (1 - sde.config.t_min)
        eps = noise.normal(*x.shape[1:])
        a, s = sde.marginal(t, x)
        return (sde.eps(a * x + s * eps, t, self.hidden(labels, noise)) - eps).square().flatten(1).mean(1)


class MatchDenoiser(LabelledRegression):
    r"""Denoising score matching: :math:`E\,\lambda(\sigma) |D(x_0 + \sigma \epsilon, \sigma) - x_0|^2` over levels.

    :math:`\lambda = (\sigma^2 + \sigma_d^2) / (\sigma \sigma_d)^2` makes the network's target of unit variance at every
    level (Karras et al., 2022, table 1). `levels` says how they are drawn: `log-uniform`, as by Song and Ermon, or
    `log-normal`, :math:`\log \sigma \sim N(m, s^2)` with `mean` and `std`.
    """

    model: VESDE

    class Options(LabelledRegression.Options):
        levels: Literal["log-uniform", "log-normal"] = "log-uniform"
        mean: Annotated[float, msgspec.Meta(ge=-50, le=50)] = -1.2
        std: Annotated[float, msgspec.Meta(gt=0, le=10)] = 1.2

    def losses(self, x: Tensor, noise: Noise, labels: Tensor | None = None) -> Tensor:
        sigma, data = self.levels(noise, x), self.model.config.sigma_data
        eps = noise.normal(*x.shape[1:])
        level = sigma.view(-1, *[1] * (x.ndim - 1))
        error = self.model.denoise(x + level * eps, sigma, self.hidden(labels, noise)) - x
        weight = (sigma.square() + data**2) / (sigma * data).square()
        return weight * error.square().flatten(1).mean(1)

    def levels(self, noise: Noise, like: Tensor) -> Tensor:
        """Returns a level for each datum, `(n,)`."""

        c, u = self.model.config, spread(noise, like)
        if self.options.levels == "log-uniform":
            return c.sigma_min * (c.sigma_max / c.sigma_min) ** u
        normal = torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4))
        return (self.options.mean + self.options.std * normal).exp().clamp(c.sigma_min, c.sigma_max)
