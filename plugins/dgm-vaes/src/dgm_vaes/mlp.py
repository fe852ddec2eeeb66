"""A VAE for vectors."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any, ClassVar, Literal

from torch import nn

from dgmcore.config import Size, Widths
from dgmcore.model import Model

from .vae import VAE, VAEConfig

__all__ = ["MLPVAE"]


class MLPVAE(VAE):
    """A VAE with dense encoder and decoder, for data that are vectors.

    Example:
        >>> MLPVAE({"dim": 2, "hidden": [64]}).event_shape
        (2,)
    """

    class Config(VAEConfig):
        dim: Size = 2
        hidden: Widths = (256, 256, 256)
        activation: Literal["relu", "silu", "tanh", "elu"] = "relu"
        decoder: Literal["bernoulli", "gaussian"] = "gaussian"

    example: ClassVar[Mapping[str, Any]] = {"hidden": [16, 16]}

    def __init__(self, config: Config | Mapping[str, Any] | None = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config

        def dense(*sizes: int) -> nn.Sequential:
            kind = {"relu": nn.ReLU, "silu": nn.SiLU, "tanh": nn.Tanh, "elu": nn.ELU}[c.activation]
            return nn.Sequential(*(m for i, o in pairwise(sizes) for m in (nn.Linear(i, o), kind())))

        self.features = dense(c.dim, *c.hidden)
        self.heads = nn.Linear(c.hidden[-1], 2 * c.latents)
        self.network = dense(c.latents, *reversed(c.hidden)).append(nn.Linear(c.hidden[0], c.dim * self.outputs))
        self._finish((c.dim,), c.hidden[-1])
