"""Training phases of diffusion models."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from dgmcore import Config
from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

if TYPE_CHECKING:
    from .ddpm import DDPM
    from .scoresde import ScoreSDE

__all__ = ["Denoise", "MatchScore"]


class _Regression(Phase):
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


class Denoise(_Regression):
    r"""The simple loss of DDPM (Ho et al., 2020, equation 14): the squared error of what the network predicts."""

    model: DDPM

    def losses(self, x: Tensor, noise: Noise) -> Tensor:
        t = noise.integers(self.model.config.schedule.steps)
        eps = noise.normal(*x.shape[1:])
        error = self.model.predict(self.model.diffuse(x, eps, t), t) - self.model.target(x, eps, t)
        return error.square().flatten(1).mean(1)


class MatchScore(_Regression):
    r"""Denoising score matching over continuous time (Song et al., 2021, equation 7).

    `weighting: simple` weighs by :math:`\sigma(t)^2`; `likelihood` by :math:`g(t)^2`, which bounds the likelihood of
    the flow (Maximum Likelihood Training of Score-Based Diffusion Models, Song et al., 2021, theorem 1), its times
    drawn in proportion to :math:`g^2 / \sigma^2`.
    """

    model: ScoreSDE

    class Options(Config):
        weighting: Literal["simple", "likelihood"] = "simple"

    def losses(self, x: Tensor, noise: Noise) -> Tensor:
        sde = self.model
        # one uniform number spread over the batch covers all times in every step
        u = (noise.uniform()[:1] + torch.arange(len(x), dtype=x.dtype, device=x.device) / len(x)) % 1.0
        if self.options.weighting == "likelihood":
            t = sde.time_by_snr(u)
        else:
            t = sde.config.t_min + u * (1 - sde.config.t_min)
        eps = noise.normal(*x.shape[1:])
        a, s = sde.marginal(t, x)
        return (sde.eps(a * x + s * eps, t) - eps).square().flatten(1).mean(1)
