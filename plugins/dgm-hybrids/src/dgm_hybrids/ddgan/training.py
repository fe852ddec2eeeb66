"""Adversarial training of each denoising step (thesis 6.3 and 6.4.7)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor

from dgmcore.config import Config, Count, Depth, NonNegative
from dgmcore.errors import OptionError
from dgmcore.noise import Noise
from dgmcore.training import Game, Step

from ..adversarial import r1_penalty
from .schedule import Diffusion

if TYPE_CHECKING:
    from .model import DDGAN

__all__ = ["AdversarialDenoising"]


class AdversarialDenoising(Game):
    r"""Non-saturating game on pairs :math:`(x_t, x_{t+1})` with t uniform for each image.

    :math:`R_1` (equation 6.16) is lazy: every `lazy` steps, and not multiplied by the interval, as published.
    """

    model: DDGAN

    class Options(Config):
        #: Weight of the gradient penalty, and the steps from one to the next.
        r1: NonNegative = 0.05
        lazy: Count = 15
        #: Diffusion as data augmentation of a one-shot model (thesis, Table 6.2): of so many steps, data and samples
        #: alike are sent through 0 to all, at random, before the discriminator sees them.
        augment: Depth | None = None

    def __init__(self, model: DDGAN, options: Config):
        super().__init__(model, options)
        if model.discriminator is None:
            raise OptionError("this model has no discriminator", "config: discriminator: {kind: conv} gives it one")
        c = model.config
        if options.augment and c.steps != 1:
            raise OptionError("augment is for models of one step", "config: steps: 1, or leave out augment")
        self.augmentation = Diffusion(options.augment, c.beta_min, c.beta_max) if options.augment else None

    def step(self, step: Step) -> None:
        x0 = step.batch()
        noise = step.noise(len(x0))
        regularize = self.options.r1 > 0 and step.index % self.options.lazy == 0

        t, x, after = self._pair(x0, noise)
        x = self._seen(x, noise).requires_grad_(regularize)
        real = self.model.discriminator(x, t, after)
        with torch.no_grad():
            fake = self._seen(self._fake(after, t, noise), noise)
        d = F.softplus(-real).mean() + F.softplus(self.model.discriminator(fake, t, after)).mean()
        loss = d
        if regularize:
            loss = d + 0.5 * self.options.r1 * r1_penalty(real, x)
        step.minimize(loss, "discriminator")

        t, _, after = self._pair(x0, noise)
        fake = self._seen(self._fake(after, t, noise), noise)
        g = F.softplus(-self.model.discriminator(fake, t, after)).mean()
        step.minimize(g, "generator")
        step.log(discriminator=d.detach(), generator=g.detach())

    def _pair(self, x0: Tensor, noise: Noise) -> tuple[Tensor, Tensor, Tensor]:
        t = noise.integers(self.model.config.steps)
        x, after = self.model.diffusion.pair(x0, t, noise.normal(*x0.shape[1:]), noise.normal(*x0.shape[1:]))
        return t, x, after

    def _fake(self, after: Tensor, t: Tensor, noise: Noise) -> Tensor:
        z = noise.normal(self.model.config.latent) if self.model.config.latent else None
        return self.model.step(after, t, z, noise.normal(*after.shape[1:]))

    def _seen(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns what the discriminator sees of data or samples: themselves, or what some steps of noise leave."""

        if self.augmentation is None:
            return x
        diffusion = self.augmentation.to(x.device)
        return diffusion.diffuse(x, noise.integers(len(diffusion.betas) + 1), noise.normal(*x.shape[1:]))
