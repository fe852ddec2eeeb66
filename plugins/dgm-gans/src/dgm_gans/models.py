"""GANs as models: a Pushforward (the generator) and a Critic (the discriminator's logit) in one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any

import torch
from msgspec import Meta
from torch import Tensor, nn

from dgmcore import Config, Model, Options
from dgmcore.config import Fraction, Positive, Size, Widths
from dgmcore.errors import OptionError, UsageError
from dgmcore.noise import Noise

from .networks import ConvDiscriminator, ConvGenerator, RHDiscriminator, RHGenerator, mlp, start_of
from .style import ResidualCritic, StyleGenerator

__all__ = ["DCGAN", "GAN", "MLPGAN", "RHGAN", "StyleGAN", "truncate"]

#: Channels by resolution; ten make images of 2048 pixels.
Resolutions = Annotated[tuple[Size, ...], Meta(min_length=1, max_length=10)]


class GAN(Model):
    """Base of GANs: `generator` maps noise `(n, q)` to data, `discriminator` maps data to logits `(n,)`."""

    class Sampling(Options):
        #: Noise is drawn from a normal distribution cut at this radius in each coordinate: fidelity for variety.
        truncation: Positive | None = None

    phases = {"adversarial": "dgm_gans.training:AdversarialPhase", "critic": "dgm_gans.training:CriticPhase"}

    generator: nn.Module
    discriminator: nn.Module
    q: int

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"z": (self.q,)}

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        """Maps `{"z": (n, q)}` to `(n, *event_shape)`."""
        return self.generator(eps["z"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Draws `noise.n` samples; option `truncation` (BigGAN, Brock et al., 2019, section 3.1)."""
        truncation = self.sampling(options).truncation
        eps = noise.named(self.noise_shapes)
        if truncation is not None:
            eps = {name: truncate(e, truncation) for name, e in eps.items()}
        return self.push(eps)

    def score(self, x: Tensor) -> Tensor:
        """The discriminator's logit (the Wasserstein potential of a WGAN), `(n,)`."""
        return self.discriminator(x)


def truncate(eps: Tensor, radius: float) -> Tensor:
    r"""Carries standard normal noise to the normal distribution truncated to `[-radius, radius]`.

    The map :math:`\epsilon \mapsto \Phi^{-1}(\Phi(-r) + \Phi(\epsilon)(\Phi(r) - \Phi(-r)))` replaces the usual
    resampling: each sample needs one draw, and the samples of a seed move continuously with the radius.
    """

    if not radius > 0:
        raise OptionError(f"truncation must be positive, not {radius}", "try --set truncation=0.7")
    low = 0.5 * math.erfc(radius / math.sqrt(2))
    u = torch.special.ndtr(eps.double())
    return torch.special.ndtri(low + u * (1 - 2 * low)).clamp(-radius, radius).to(eps.dtype)


class RHGAN(GAN):
    """DCGAN and WGAN of Ruthotto & Haber (2021), section 5: MNIST in [0, 1], q = 2.

    42,913 weights in the generator, 36,705 in the discriminator. A DCGAN's discriminator ends in a sigmoid in the
    text; `score` is its logit, and the losses work on logits.
    """

    class Config(Config):
        q: Size = 2

    data_range = (0.0, 1.0)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = (1, 28, 28)
        self.q = self.config.q
        self.generator = RHGenerator(self.q)
        self.discriminator = RHDiscriminator()


class DCGAN(GAN):
    """Unsupervised Representation Learning with DCGANs (Radford et al., 2016), for images in [-1, 1]."""

    class Config(Config):
        q: Size = 64
        channels: Size = 1
        size: Size = 28
        width: Size = 32  # channels of the generator before its last layer
        discriminator_width: Size | None = None  # None: as the generator's
        spectral_norm: bool = False
        minibatch_deviation: bool = False
        batch_norm: bool = True  # in the discriminator; off for gradient penalties

    example = {"q": 4, "size": 8, "width": 4}
    data_range = (-1.0, 1.0)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        base, doublings = start_of(c.size)
        if base not in range(4, 8) or not doublings:
            raise UsageError(
                f"dcgan can't make images of {c.size} pixels", "use 28, 32, 64, or 4 to 7 times a power of 2"
            )
        self.event_shape = (c.channels, c.size, c.size)
        self.q = c.q
        self.generator = ConvGenerator(c.q, c.channels, c.size, c.width)
        self.discriminator = ConvDiscriminator(
            c.channels, c.size, c.discriminator_width or c.width, c.spectral_norm, c.minibatch_deviation, c.batch_norm
        )

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        if len(shape) != 3:
            return {}
        phase = {
            "phase": "adversarial",
            "options": {"loss": "hinge", "instance_noise": 0.1},
            "optimizer": {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999]},
            "schedule": {},
            "channels_last": True,
        }
        config = {"channels": shape[0], "size": shape[-1], "spectral_norm": True}
        return {"config": config, "data": {"range": [-1, 1]}, "phases": [phase]}


class StyleGAN(GAN):
    r"""A style generator and a residual critic after StyleGAN2 (Karras et al., 2020), for images in [-1, 1].

    A mapping network carries z to a code w, which scales the weights of every convolution; each layer adds noise of its
    own. A sample is a function of z and of these noises. Left out: style mixing, the regularisation of path lengths.

    References:
        A Style-Based Generator Architecture for GANs (Karras et al., 2019), https://arxiv.org/abs/1812.04948
        Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), https://arxiv.org/abs/1912.04958
    """

    class Config(Config):
        q: Size = 128
        code: Size = 128  # the size of the style code w
        depth: Annotated[int, Meta(ge=1, le=64)] = 4  # layers of the mapping network
        channels: Size = 3
        widths: Resolutions = (128, 128, 64, 32, 16)  # channels at 4x4, 8x8, ...: five make 64 pixels
        critic_widths: Resolutions | None = None  # None: as the generator's
        minibatch_deviation: bool = False

    class Sampling(Options):
        #: Codes are drawn towards their mean, w' = mean + truncation (w - mean): fidelity for variety; 1 leaves them.
        truncation: Fraction = 1.0

    example = {"q": 4, "code": 8, "depth": 2, "widths": [6, 4]}
    data_range = (-1.0, 1.0)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        critic_widths = c.critic_widths or c.widths
        if len(critic_widths) != len(c.widths):
            raise UsageError(
                f"stylegan's critic has {len(critic_widths)} resolutions, its generator {len(c.widths)}",
                f"give {len(c.widths)} critic_widths",
            )
        size = 4 * 2 ** (len(c.widths) - 1)
        self.event_shape = (c.channels, size, size)
        self.q = c.q
        self.generator = StyleGenerator(c.q, c.code, c.depth, c.channels, c.widths)
        self.discriminator = ResidualCritic(c.channels, critic_widths, c.minibatch_deviation)

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        """`z`, `(q,)`, and `(1, h, w)` for each layer: `noise0` at 4x4, `noise1` and `noise2` at 8x8, ..."""
        return {"z": (self.q,), **self.generator.noise_shapes}

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        """Maps `z` and the layers' noises to `(n, channels, size, size)` in [-1, 1]."""
        return self.generator(eps)

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        r"""Draws `noise.n` samples; option `truncation`, :math:`\psi` in [0, 1] (Karras et al., 2019, section B)."""
        return self.generator(noise.named(self.noise_shapes), self.sampling(options).truncation)

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        widths = (16, 32, 64, 128, 128, 128, 128)  # from the highest resolution down
        doublings = {4 * 2**i: i for i in range(1, len(widths))}
        if len(shape) != 3 or shape[1] != shape[2] or shape[1] not in doublings:
            return {}
        phase = {
            "phase": "adversarial",
            "options": {"r1": 1.0, "r1_every": 16},
            "batch_size": 32,
            "optimizer": {"name": "adam", "lr": 2e-3, "betas": [0.0, 0.99]},
            "schedule": {},
            "ema": 0.998,
            "channels_last": True,
        }
        config = {"channels": shape[0], "widths": list(reversed(widths[: doublings[shape[1]] + 1]))}
        return {"config": config, "data": {"range": [-1, 1]}, "phases": [phase]}


class MLPGAN(GAN):
    """A GAN for points: both networks are multi-layer perceptrons."""

    class Config(Config):
        dim: Size = 2
        q: Size = 2
        hidden: Widths = (128, 128, 128)
        spectral_norm: bool = False

    example = {"hidden": [16, 16]}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        self.event_shape = (c.dim,)
        self.q = c.q
        self.generator = mlp([c.q, *c.hidden, c.dim])
        self.discriminator = nn.Sequential(
            mlp([c.dim, *c.hidden, 1], lambda: nn.LeakyReLU(0.2), spectral=c.spectral_norm), nn.Flatten(0)
        )

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        optimizer = {"name": "adam", "lr": 2e-4, "betas": [0.5, 0.999]}
        config = {"dim": shape[0]} if len(shape) == 1 else {}
        return {"config": config, "phases": [{"phase": "adversarial", "batch_size": 128, "optimizer": optimizer}]}
