"""Convolutional VAEs and auto-encoders for small images."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import msgspec
from torch import Tensor, nn

from dgmcore.config import Config, Size, Widths
from dgmcore.errors import RegistryError
from dgmcore.model import Model

from .vae import VAE, VAEConfig

__all__ = ["ConvAutoencoder", "ConvVAE"]

Hidden = Annotated[int, msgspec.Meta(ge=0, le=65_536)]


def layers(owner: str, c: Any, outputs: int) -> tuple[int, list[nn.Module], list[nn.Module]]:
    """Returns the number of features, the layers from images to features, and those from latents to images.

    Arguments:
        owner: What errors call the model.
        c: Its config: `event_shape`, `latents`, `widths` and `hidden`.
        outputs: How many numbers the decoder gives for each pixel's channel.
    """

    image, height, width = c.event_shape
    times = 2 ** len(c.widths)
    if height % times or width % times:
        raise RegistryError(
            f"config of {owner}: {height}x{width} images can't be halved {len(c.widths)} times",
            "give fewer widths, or pad the images in the recipe's data",
        )
    small = (c.widths[-1], height // times, width // times)
    flat = small[0] * small[1] * small[2]

    features: list[nn.Module] = []
    for i, (c_in, c_out) in enumerate(pairwise((image, *c.widths))):
        features.append(nn.Conv2d(c_in, c_out, 4, 2, 1, bias=i == 0))
        features += [nn.BatchNorm2d(c_out)] * (i > 0) + [nn.ReLU(inplace=True)]
    features.append(nn.Flatten())
    network: list[nn.Module] = []
    if c.hidden:
        features += [nn.Linear(flat, c.hidden, bias=False), nn.BatchNorm1d(c.hidden), nn.ReLU(inplace=True)]
        network += [nn.Linear(c.latents, c.hidden, bias=False), nn.BatchNorm1d(c.hidden), nn.ReLU(inplace=True)]
    network += [nn.Linear(c.hidden or c.latents, flat, bias=False), nn.Unflatten(1, small)]
    for c_in, c_out in pairwise(reversed((image * outputs, *c.widths))):
        network += [nn.BatchNorm2d(c_in), nn.ReLU(inplace=True), nn.ConvTranspose2d(c_in, c_out, 4, 2, 1)]
    return c.hidden or flat, features, network


class ConvVAE(VAE):
    r"""Strided 4x4 convolutions down, transposed ones up, batch norm and ReLU between them.

    With `hidden` the net has a dense layer between convolutions and latents, as the auto-encoders of thesis
    Table 3.6 (after InfoGAN); without, it is the DCGAN decoder with a symmetric encoder of thesis 4.4.1. The Gaussian
    decoder's mean ends in tanh, for images in [-1, 1]; Bernoulli images are in [0, 1].
    """

    class Config(VAEConfig):
        event_shape: tuple[Size, Size, Size] = (1, 28, 28)
        latents: Size = 100
        widths: Widths = (64, 128)  # channels after each halving of the size
        hidden: Hidden = 1024  # of the dense layer; 0: none

    example: ClassVar[Mapping[str, Any]] = {"event_shape": [1, 8, 8], "latents": 3, "widths": [4, 8], "hidden": 16}

    def __init__(self, config: Config | Mapping[str, Any] | None = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        n, features, network = layers("ConvVAE", c, self.outputs)
        self.features = nn.Sequential(*features)
        self.heads = nn.Linear(n, 2 * c.latents)
        self.network = nn.Sequential(*network)
        self._finish(c.event_shape, n)

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        """A Gaussian decoder whose sigma is at least 1: a few pictures are learned as shapes, not pixel by pixel.

        With a bound of 0.6 the codes of 300 faces lie so far apart after 3,000 steps that what is between is no face.
        """
        return {
            "config": {
                "event_shape": list(shape),
                "latents": 64,
                "widths": _halvings(shape[-1]),
                "hidden": 0,
                "decoder": "gaussian",
                "log_sigma_min": 0.0,
            },
            "data": {"range": [-1, 1]},
            "phases": [
                {
                    "phase": "elbo",
                    "options": {"warmup": 0.1},
                    "optimizer": {"name": "adam", "lr": 2e-3},
                    "channels_last": True,
                }
            ],
            "sampling": {"mean": True, "temperature": 0.8},
        }

    def _mean(self, mu: Tensor) -> Tensor:
        return mu.tanh()


def _halvings(size: int) -> list[int]:
    """Channels for each halving of a size, down to 4 to 7 pixels or what can't be halved."""
    widths, width = [], 32
    while size % 2 == 0 and size > 7:
        size, widths, width = size // 2, [*widths, width], min(2 * width, 256)
    return widths


class ConvAutoencoder(Model):
    r"""A deterministic auto-encoder with the layers of :class:`ConvVAE`: thesis Table 3.6, after InfoGAN.

    The decoder ends in tanh, for images in [-1, 1] (the thesis: a sigmoid, for images in [0, 1]).

    Example:
        >>> import torch
        >>> model = ConvAutoencoder({"latents": 20, "widths": [8, 16], "hidden": 32})
        >>> model.encode(torch.zeros(2, 1, 28, 28)).shape
        torch.Size([2, 20])
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (1, 28, 28)
        latents: Size = 20
        widths: Widths = (64, 128)  # channels after each halving of the size
        hidden: Hidden = 1024  # of the dense layer; 0: none

    example: ClassVar[Mapping[str, Any]] = {"event_shape": [1, 8, 8], "latents": 3, "widths": [4, 8], "hidden": 16}
    data_range = (-1.0, 1.0)
    phases: ClassVar[Mapping[str, str]] = {"reconstruction": "dgm_vaes.training:Reconstruction"}

    def __init__(self, config: Config | Mapping[str, Any] | None = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        self.event_shape = tuple(c.event_shape)
        self.code_shape = (c.latents,)
        n, features, network = layers("ConvAutoencoder", c, 1)
        self.encoder = nn.Sequential(*features, nn.Linear(n, c.latents))
        self.decoder = nn.Sequential(*network, nn.Tanh())

    def encode(self, x: Tensor) -> Tensor:
        """Maps images to codes, `(n, latents)`."""
        return self.encoder(x)

    def decode(self, z: Tensor) -> Tensor:
        """Maps codes to images."""
        return self.decoder(z)
