r"""Glow: actnorm, invertible 1x1 convolutions, affine couplings, several scales."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Depth, NonNegative, Options, Size
from dgmcore.errors import UsageError
from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import Noise

from .glow_top import DenseTop

__all__ = ["Glow"]

_MIN_SCALE = 0.05  # of a coupling: bounds the growth of rounding errors in the inverse


class Glow(Model):
    r"""A multi-scale flow for images [1].

    Each level squeezes :math:`(C, H, W)` to :math:`(4C, H/2, W/2)`, runs `steps` steps of
    actnorm, invertible 1x1 convolution and affine coupling, and, but for the last, sets half of the
    channels aside as Gaussian given the other half. Its noise :math:`\epsilon` is the standardised
    part set aside at each level, so :math:`x = g(\epsilon)` is a push-forward of :math:`N(0, I)`.

    The density is exact and continuous: it is for dequantised images :math:`x + u`, `u` uniform on
    one level.

    Two things help on aligned images such as Fashion-MNIST, and are no part of [1]: what leaves a level is
    standardised for each position by the moments of the first batch, and with `top_steps` the coarsest level
    ends in dense couplings of its principal components, :class:`DenseTop`.

    Arguments:
        config: `event_shape` (channels, height, width); for each level the number of `steps` and of the
            `hidden` channels of its couplings' networks; the number of dense couplings at the top, `top_steps`,
            and their networks' width `top_hidden`.

    References:
        [1] Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma & Dhariwal, 2018),
        https://arxiv.org/abs/1807.03039
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (1, 28, 28)
        steps: tuple[Depth, ...] = (16, 16)
        hidden: tuple[Size, ...] = (64, 64)
        top_steps: Annotated[int, msgspec.Meta(ge=0, le=1_024)] = 0
        top_hidden: Size = 256

    class Sampling(Options):
        #: Standard deviation of the noise; below 1 samples are less varied and cleaner.
        temperature: NonNegative = 1.0

    likelihood: ClassVar[Likelihood] = Likelihood.EXACT
    # half precision holds neither dequantised images nor the sum of so many logarithms
    dtypes = (torch.float32, torch.float64)
    noise_shapes: Mapping[str, tuple[int, int, int]]
    example: ClassVar[Mapping[str, Any]] = {"event_shape": [1, 8, 8], "steps": [2, 2], "hidden": [8, 8]}
    data_range = (-1.0, 1.0)
    phases = {"likelihood": "dgm_flows.training:FlowLikelihood"}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.config.event_shape)
        channels, height, width = self.event_shape
        c = self.config
        steps, hidden = c.steps, c.hidden
        if len(steps) != len(hidden) or not steps:
            raise UsageError(
                f"Glow has {len(steps)} levels by its steps and {len(hidden)} by its hidden channels",
                "give one number a level in both",
            )
        if height % 2 ** len(steps) or width % 2 ** len(steps):
            raise UsageError(
                f"Glow can't halve {height}x{width} images {len(steps)} times",
                f"pad the images to a multiple of {2 ** len(steps)}, or use fewer levels",
            )
        self.levels = nn.ModuleList()
        self.noise_shapes = {}
        for i in range(1, len(steps) + 1):
            channels, height, width = 4 * channels, height // 2, width // 2
            last = i == len(steps)
            top = DenseTop(channels * height * width, c.top_steps, c.top_hidden) if last and c.top_steps else None
            self.levels.append(Level((channels, height, width), steps[i - 1], hidden[i - 1], last, top))
            if not last:
                channels //= 2
            self.noise_shapes[f"level{i}"] = (channels, height, width)

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        if len(shape) != 3:
            return {}
        depth = 3 if shape[-1] % 8 == 0 else 2
        phase = {
            "phase": "likelihood",
            "options": {"dequantize": levels is not None, "initial": 512},
            "batch_size": 16,
            "clip_norm": 20000.0,
            "ema_from": 200,
            "channels_last": True,
        }
        return {
            "config": {"event_shape": list(shape), "steps": [4, 4, 8][-depth:], "hidden": [32, 64, 64][-depth:]},
            "data": {"range": [-1, 1]},
            "phases": [phase],
            "sampling": {"temperature": 0.7},
        }

    # --- the bijection ---------------------------------------------------------------------------

    def transform(self, x: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        r"""Returns the codes and :math:`\log|\det \partial\epsilon/\partial x|`, shape `(n,)`."""

        codes, ladj, h = {}, x.new_zeros(x.shape[0]), x
        for name, level in zip(self.noise_shapes, self.levels, strict=True):
            codes[name], h, level_ladj = level.encode(h)
            ladj = ladj + level_ladj
        return codes, ladj

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        return self.transform(x)[0]

    def decode(self, z: Mapping[str, Tensor]) -> Tensor:
        h = None
        for name, level in reversed(list(zip(self.noise_shapes, self.levels, strict=True))):
            h = level.decode(z[name], h)
        return h

    # --- protocols -------------------------------------------------------------------------------

    def log_prob(self, x: Tensor) -> Tensor:
        codes, ladj = self.transform(x)
        squares = sum(z.square().flatten(1).sum(1) for z in codes.values())
        return ladj - 0.5 * (squares + math.prod(self.event_shape) * math.log(2 * math.pi))

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        return self.decode(eps)

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        temperature = self.sampling(options).temperature
        eps = noise.named(self.noise_shapes)
        return self.push({name: temperature * e for name, e in eps.items()})

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Data-dependent initialisation: every actnorm and hidden channel gets mean 0 and variance 1."""

        h = x
        for level in self.levels:
            h = level.initialize(h)


class Level(nn.Module):
    """Squeeze, flow steps, and the prior of what leaves here."""

    def __init__(self, shape: tuple[int, int, int], steps: int, hidden: int, last: bool, top: DenseTop | None):
        super().__init__()
        channels, height, width = shape
        self.last = last
        self.steps = nn.ModuleList(FlowStep(channels, hidden) for _ in range(steps))
        leaving = channels if last else channels - channels // 2
        self.top = top
        if top is None:
            self.register_buffer("mean", torch.zeros(leaving, height, width))
            self.register_buffer("std", torch.ones(leaving, height, width))
            # moments of the standardised part set aside given the rest, or of the whole top level
            self.prior = nn.Parameter(torch.zeros(2 * leaving)) if last else ZeroConv(channels // 2, 2 * leaving)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor | None, Tensor]:
        h, ladj = squeeze(x), 0.0
        for step in self.steps:
            h, step_ladj = step.encode(h)
            ladj = ladj + step_ladj
        if self.top is not None:
            z, top_ladj = self.top.encode(h)
            return z, None, ladj + top_ladj
        kept, z = (None, h) if self.last else h.chunk(2, 1)
        mean, log_std = self.moments(kept)
        z = ((z - self.mean) / self.std - mean) * torch.exp(-log_std)
        return z, kept, ladj - self.std.log().sum() - log_std.expand_as(z).flatten(1).sum(1)

    def decode(self, z: Tensor, kept: Tensor | None) -> Tensor:
        if self.top is not None:
            h = self.top.decode(z)
        else:
            mean, log_std = self.moments(kept)
            h = self.mean + self.std * (mean + torch.exp(log_std) * z)
        if kept is not None:
            h = torch.cat([kept, h], 1)
        for step in reversed(self.steps):
            h = step.decode(h)
        return unsqueeze(h)

    def moments(self, kept: Tensor | None) -> tuple[Tensor, Tensor]:
        if kept is None:
            return self.prior.view(1, -1, 1, 1).chunk(2, 1)
        return self.prior(kept).chunk(2, 1)

    def initialize(self, x: Tensor) -> Tensor | None:
        h = squeeze(x)
        for step in self.steps:
            h = step.initialize(h)
        if self.top is not None:
            self.top.initialize(h)
            return None
        kept, z = (None, h) if self.last else h.chunk(2, 1)
        std, mean = torch.std_mean(z, 0)
        self.mean.copy_(mean)
        self.std.copy_(std.clamp(min=1e-3 * std.max()) + 1e-6)
        return kept


class FlowStep(nn.Module):
    r"""Actnorm, invertible 1x1 convolution, affine coupling.

    The first two are one 1x1 convolution with kernel :math:`W \mathrm{diag}(e^{s})` and bias
    :math:`W b`; :math:`W = P L (U + \mathrm{diag}(\pm e^{d}))`, started from a rotation.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        self.log_scale = nn.Parameter(torch.zeros(channels))
        self.shift = nn.Parameter(torch.zeros(channels))
        rotation = torch.linalg.qr(torch.randn(channels, channels))[0]
        permutation, lower, upper = torch.linalg.lu(rotation)
        diagonal = upper.diagonal()
        self.register_buffer("permutation", permutation)
        self.register_buffer("sign", diagonal.sign())
        self.lower = nn.Parameter(lower.tril(-1))
        self.upper = nn.Parameter(upper.triu(1))
        self.log_diagonal = nn.Parameter(diagonal.abs().log())
        self.coupling = Coupling(channels, hidden)

    def mixing(self) -> Tensor:
        """Returns `W`, `(C, C)`."""

        lower = self.lower.tril(-1) + torch.eye(len(self.sign), device=self.lower.device, dtype=self.lower.dtype)
        upper = self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())
        return self.permutation @ lower @ upper

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        W = self.mixing()
        h = F.conv2d(x, (W * self.log_scale.exp())[:, :, None, None], W @ self.shift)
        h, ladj = self.coupling.encode(h)
        pixels = x.shape[2] * x.shape[3]
        return h, ladj + pixels * (self.log_scale.sum() + self.log_diagonal.sum())

    def decode(self, h: Tensor) -> Tensor:
        h = self.coupling.decode(h)
        inverse = torch.linalg.inv(self.mixing().double()) * (-self.log_scale.double()).exp()[:, None]
        bias = -self.shift * (-self.log_scale).exp()
        return F.conv2d(h, inverse.to(h.dtype)[:, :, None, None], bias)

    def initialize(self, x: Tensor) -> Tensor:
        std, mean = torch.std_mean(x, dim=(0, 2, 3))
        self.log_scale.copy_(-torch.log(std + 1e-6))
        self.shift.copy_(-mean * self.log_scale.exp())
        W = self.mixing()
        h = F.conv2d(x, (W * self.log_scale.exp())[:, :, None, None], W @ self.shift)
        self.coupling.initialize(h)
        return self.coupling.encode(h)[0]


class Coupling(nn.Module):
    r"""Affine coupling: half of the channels scales and shifts the other, :math:`(b + t(a))\,s(a)`.

    :math:`s` is a sigmoid that starts near 0.88, kept above 0.05 so that the inverse can't blow up.
    """

    def __init__(self, channels: int, hidden: int):
        super().__init__()
        half = channels // 2
        self.enter = nn.Conv2d(half, hidden, 3, padding=1)
        self.mix = nn.Conv2d(hidden, hidden, 1)
        self.leave = ZeroConv(hidden, 2 * (channels - half))
        self.half = half

    def affine(self, a: Tensor) -> tuple[Tensor, Tensor]:
        h = F.relu_(self.mix(F.relu_(self.enter(a))))
        shift, raw = self.leave(h).chunk(2, 1)
        return shift, _MIN_SCALE + (1 - _MIN_SCALE) * torch.sigmoid(raw + 2)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        a, b = x.split([self.half, x.shape[1] - self.half], 1)
        shift, scale = self.affine(a)
        return torch.cat([a, (b + shift) * scale], 1), scale.log().flatten(1).sum(1)

    def decode(self, y: Tensor) -> Tensor:
        a, b = y.split([self.half, y.shape[1] - self.half], 1)
        shift, scale = self.affine(a)
        return torch.cat([a, b / scale - shift], 1)

    def initialize(self, x: Tensor) -> None:
        h = x[:, : self.half]
        for conv in (self.enter, self.mix):
            std, mean = torch.std_mean(conv(h), dim=(0, 2, 3))
            conv.weight.div_(std.view(-1, 1, 1, 1) + 1e-6)
            conv.bias.sub_(mean).div_(std + 1e-6)
            h = F.relu(conv(h))


class ZeroConv(nn.Module):
    """A 3x3 convolution that starts at zero, its outputs scaled by a learned `exp(3 s)` [1]."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)
        nn.init.zeros_(self.conv.weight)
        nn.init.zeros_(self.conv.bias)
        self.log_scale = nn.Parameter(torch.zeros(outputs))

    def forward(self, x: Tensor) -> Tensor:
        scale = torch.exp(3 * self.log_scale)
        return F.conv2d(x, self.conv.weight * scale.view(-1, 1, 1, 1), self.conv.bias * scale, padding=1)


def squeeze(x: Tensor) -> Tensor:
    """Turns 2x2 blocks into channels: `(n, C, H, W)` to `(n, 4C, H/2, W/2)`."""

    return F.pixel_unshuffle(x, 2)


def unsqueeze(x: Tensor) -> Tensor:
    """The inverse of :func:`squeeze`."""

    return F.pixel_shuffle(x, 2)
