"""The VAE of Ruthotto & Haber on MNIST."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

from torch import nn

from dgmcore.config import Size
from dgmcore.model import Model

from .vae import VAE, VAEConfig

__all__ = ["RHVAE"]


class RHVAE(VAE):
    r"""The convolutional VAE with `q` latents, 2 in the paper: a generator of 42,913 weights, an encoder of 45,924 [1].

    The paper draws :math:`z = \mu + e^{\Sigma} \epsilon` (eq. 25) but scores it with the variance :math:`e^\Sigma`
    (eq. 24), so what it prints is no bound. Here both use one standard deviation: `posterior_std: half` is
    :math:`e^{\Sigma/2}`; `exp` is :math:`e^\Sigma`, as the published weights were trained to sample.

    References:
        [1] An introduction to deep generative modeling (Ruthotto & Haber, 2021), section 4,
            https://arxiv.org/abs/2103.05180
    """

    class Config(VAEConfig):
        latents: Size = 2
        width: Size = 32  # channels of the larger of the two sizes

    example: ClassVar[Mapping[str, Any]] = {"width": 4}

    def __init__(self, config: Config | Mapping[str, Any] | None = None, **parts: Model):
        super().__init__(config, **parts)
        q, w = self.config.latents, self.config.width
        flat = 2 * w * 7 * 7
        self.features = nn.Sequential(
            nn.Conv2d(1, w, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.Conv2d(w, 2 * w, 4, 2, 1),
            nn.ReLU(inplace=True),
            nn.Flatten(),
        )
        self.heads = nn.Linear(flat, 2 * q)
        self.network = nn.Sequential(
            nn.Linear(q, flat),
            nn.Unflatten(1, (2 * w, 7, 7)),
            nn.BatchNorm2d(2 * w),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(2 * w, w, 4, 2, 1),
            nn.BatchNorm2d(w),
            nn.ReLU(inplace=True),
            nn.ConvTranspose2d(w, self.outputs, 4, 2, 1),
        )
        self._finish((1, 28, 28), flat)
