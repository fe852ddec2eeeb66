"""Denoising diffusion GAN: a diffusion whose few steps are draws of a conditional GAN."""

from __future__ import annotations

import itertools
import math
from collections import deque
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore import Config, Model, Options
from dgmcore.config import Depth, Fraction, Real, Shape, Size
from dgmcore.errors import OptionError
from dgmcore.noise import Noise
from dgmcore.sampling.start import start_from

from .discriminator import Conv, ConvDiscriminator
from .schedule import Diffusion
from .unet import UNet, UNetGenerator

__all__ = ["DDGAN"]

Latent = Annotated[int, msgspec.Meta(ge=0, le=65_536)]
Beta = Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]


class MLP(Config, tag="mlp", tag_field="kind"):
    """Three fully connected layers, conditioned by concatenation (thesis 6.4.7, toy data)."""

    width: Size = 512
    depth: Depth = 3
    frequencies: tuple[Real, ...] = ()  # of sines and cosines beside the points, for details far below their range


class Absent(Config, tag="none", tag_field="kind"):
    """No discriminator: published checkpoints hold a generator alone, which draws but can't be trained on."""


class DDGAN(Model):
    """Tackling the Generative Learning Trilemma with Denoising Diffusion GANs (Xiao et al., 2022); thesis chapter 6.

    All its randomness is Gaussian, so it is a Pushforward: of x_T, and of a latent and a posterior noise for each step.
    The ablations of Table 6.2 are configurations: `parametrization: direct` predicts x_t itself, `noise` predicts the
    noise in x_{t+1}, and `latent: 0` leaves out z.
    """

    class Config(Config):
        event_shape: Shape = (2,)
        steps: Depth = 4
        latent: Latent = 100
        beta_min: Beta = 0.1
        beta_max: Beta = 20.0
        parametrization: Literal["posterior", "direct", "noise"] = "posterior"
        generator: UNet | MLP = MLP()
        discriminator: Conv | MLP | Absent = MLP()

    class Sampling(Options):
        init: Any = None  # a picture `event_shape` to start from: `--init FILE` on the command line
        strength: Fraction = 0.5  # with `init`: the share of the T steps that the picture is sent through

    phases = {"adversarial": "dgm_hybrids.ddgan.training:AdversarialDenoising"}
    example = {"generator": {"kind": "mlp", "width": 8}, "discriminator": {"kind": "mlp", "width": 8}, "latent": 3}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        self.event_shape = tuple(c.event_shape)
        self.diffusion = Diffusion(c.steps, c.beta_min, c.beta_max)
        if isinstance(c.generator, UNet):
            self.generator: nn.Module = UNetGenerator(c.generator, *self.event_shape[:2], c.latent)
        else:
            self.generator = PointGenerator(c.generator, math.prod(self.event_shape), c.latent, c.steps)
        if isinstance(c.discriminator, Absent):
            self.discriminator: nn.Module | None = None
        elif isinstance(c.discriminator, Conv):
            self.discriminator = ConvDiscriminator(c.discriminator, self.event_shape[0])
        else:
            self.discriminator = PointDiscriminator(c.discriminator, math.prod(self.event_shape), c.steps)

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        steps = [str(t) for t in reversed(range(self.config.steps))]
        shapes: dict[str, Any] = {"x": self.event_shape}
        if self.config.latent:
            shapes["z"] = dict.fromkeys(steps, (self.config.latent,))
        if self.config.parametrization != "direct" and self.config.steps > 1:
            shapes["posterior"] = {t: self.event_shape for t in steps if t != "0"}
        return shapes

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"x": ..., "z": {"3": ..., ...}, "posterior": {"3": ..., ...}}` to `(n, *event_shape)`."""
        return deque(self._states(eps), maxlen=1).pop()

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Draws `noise.n` samples; with `init`, pictures that resemble it (stroke-based synthesis, thesis 6.4.6)."""
        return deque(self.trajectory(noise, **options), maxlen=1).pop()

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        eps, steps = noise.named(self.noise_shapes), self.config.steps
        if o.init is not None:
            start = start_from(o.init, o.strength, eps["x"])
            steps = max(1, round(o.strength * steps))
            times = torch.full((noise.n,), steps, device=eps["x"].device)
            eps["x"] = self.diffusion.diffuse(start, times, eps["x"])
        yield from self._states(eps, steps)

    def _states(self, eps: Mapping[str, Any], steps: int | None = None) -> Iterator[Tensor]:
        x = eps["x"]
        yield x
        for t in reversed(range(steps or self.config.steps)):
            times = torch.full((x.shape[0],), t, device=x.device)
            z = eps["z"][str(t)] if self.config.latent else None
            x = self.step(x, times, z, eps["posterior"][str(t)] if t and "posterior" in eps else None)
            yield x

    def step(self, after: Tensor, t: Tensor, z: Tensor | None, eps: Tensor | None) -> Tensor:
        r"""Draws :math:`x_t \sim p_\theta(x_t | x_{t+1})` (thesis, eq. 6.12)."""

        if self.config.parametrization == "direct":
            return self.generator(after, t, z)
        x0 = self.clean(after, t, z)
        return self.diffusion.posterior(x0, after, t, torch.zeros_like(x0) if eps is None else eps)

    def clean(self, after: Tensor, t: Tensor, z: Tensor | None) -> Tensor:
        r"""Draws :math:`x_0 \sim p_\theta(x_0 | x_{t+1})` (thesis, Fig. 6.14); not where a step predicts :math:`x_t`.

        Arguments:
            after: :math:`x_{t+1}`, `(n, *event_shape)`.
            t: Integer times from 0 to T - 1, `(n,)`.
            z: Latents `(n, latent)`, or None where the model has none.
        """

        out = self.generator(after, t, z)
        if self.config.parametrization == "noise":
            bar = self.diffusion.alpha_bar[t + 1].reshape(-1, *[1] * (after.ndim - 1))
            return (after - (1 - bar).sqrt() * out) / bar.sqrt()
        if self.config.parametrization == "direct":
            raise OptionError(
                "a direct model predicts no clean data", "train one with parametrization: posterior or noise"
            )
        return out


class PointGenerator(nn.Module):
    def __init__(self, spec: MLP, dim: int, latent: int, steps: int):
        super().__init__()
        self.steps, self.frequencies = steps, spec.frequencies
        self.net = _mlp([dim * (1 + 2 * len(spec.frequencies)) + latent + steps, *[spec.width] * spec.depth, dim])

    def forward(self, x: Tensor, t: Tensor, z: Tensor | None) -> Tensor:
        inputs = [_waves(x.flatten(1), self.frequencies), F.one_hot(t, self.steps).to(x.dtype)]
        return self.net(torch.cat(inputs + ([] if z is None else [z]), 1)).reshape(x.shape)


class PointDiscriminator(nn.Module):
    def __init__(self, spec: MLP, dim: int, steps: int):
        super().__init__()
        self.steps, self.frequencies = steps, spec.frequencies
        self.net = _mlp([2 * dim * (1 + 2 * len(spec.frequencies)) + steps, *[spec.width] * spec.depth, 1])

    def forward(self, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
        pair = torch.cat([x.flatten(1), after.flatten(1)], 1)
        inputs = [_waves(pair, self.frequencies), F.one_hot(t, self.steps).to(x.dtype)]
        return self.net(torch.cat(inputs, 1)).squeeze(1)


def _waves(x: Tensor, frequencies: tuple[float, ...]) -> Tensor:
    """Appends sines and cosines of `x`, `(n, d)`, at each frequency (Fourier features, Tancik et al., 2020)."""

    return torch.cat([x, *(wave for f in frequencies for wave in ((f * x).sin(), (f * x).cos()))], 1)


def _mlp(sizes: list[int]) -> nn.Sequential:
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(sizes):
        layers += ([nn.LeakyReLU(0.2)] if layers else []) + [nn.Linear(a, b)]
    return nn.Sequential(*layers)
