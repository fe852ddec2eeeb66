r"""The generator: NCSN++ with adaptive group normalisation of a latent (thesis 6.4.7).

Its modules are in the order of the published checkpoints, which :func:`~dgm_hybrids.ddgan.convert.ddgan` relies on.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore import Config
from dgmcore.config import Depth, Size, Widths

from .fir import conv_downsample, downsample, upsample

__all__ = ["Embedding", "UNet", "UNetGenerator", "init_", "sinusoid"]

Width = Annotated[int, msgspec.Meta(ge=4, le=65_536)]  # groups of norms are a quarter of it
Embedding = Annotated[int, msgspec.Meta(ge=4, le=65_536)]
Layers = Annotated[int, msgspec.Meta(ge=0, le=1_024)]

_RSQRT2 = 1 / math.sqrt(2)


class UNet(Config, tag="unet", tag_field="kind"):
    """Hyper-parameters of the generator; the defaults are the published CIFAR-10 model's."""

    width: Width = 128
    multipliers: Widths = (1, 2, 2, 2)
    blocks: Depth = 2
    attention: tuple[Size, ...] = (16,)  # resolutions, after `patch`
    embedding: Embedding = 256  # of the latent
    mapping_layers: Layers = 4  # after the first
    patch: Size = 1  # works on squares of so many pixels as channels: a fraction of the cost


def sinusoid(t: Tensor, size: int, dtype: torch.dtype) -> Tensor:
    """Embeds integer times `(n,)` in `(n, size)`: sines first, then cosines."""

    half = size // 2
    rates = torch.exp(-math.log(10_000) / (half - 1) * torch.arange(half, dtype=dtype, device=t.device))
    angle = t.to(dtype)[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], 1)


@torch.no_grad()
def init_(layer: Any, scale: float = 1.0) -> Any:
    """Variance scaling, fan_avg, uniform; `scale` 0 stands for 1e-10, so that the layer begins at zero."""

    receptive = layer.weight[0, 0].numel() if layer.weight.ndim == 4 else 1
    fan = receptive * (layer.weight.shape[0] + layer.weight.shape[1]) / 2
    bound = math.sqrt(3 * max(scale, 1e-10) / fan)
    nn.init.uniform_(layer.weight, -bound, bound)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
    return layer


def _groups(channels: int) -> int:
    return min(channels // 4, 32)


class AdaGN(nn.Module):
    """Group normalisation whose scale and shift are linear in an embedding of the latent."""

    def __init__(self, channels: int, embedding: int):
        super().__init__()
        self.norm = nn.GroupNorm(_groups(channels), channels, eps=1e-6, affine=False)
        self.style = init_(nn.Linear(embedding, 2 * channels))
        with torch.no_grad():
            self.style.bias[:channels] = 1.0

    def forward(self, x: Tensor, z: Tensor | None) -> Tensor:
        if z is None:
            z = torch.zeros(x.shape[0], self.style.in_features, dtype=x.dtype, device=x.device)
        gamma, beta = self.style(z)[:, :, None, None].chunk(2, 1)
        return gamma * self.norm(x) + beta


class Block(nn.Module):
    """Residual block of BigGAN type, optionally resampling; conditioned on time by a bias, on the latent by AdaGN."""

    def __init__(self, inputs: int, outputs: int, time: int, embedding: int, resample: str = ""):
        super().__init__()
        self.resample = {"": None, "down": downsample, "up": upsample}[resample]
        self.norm1 = AdaGN(inputs, embedding)
        self.conv1 = init_(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time = init_(nn.Linear(time, outputs))
        self.norm2 = AdaGN(outputs, embedding)
        self.conv2 = init_(nn.Conv2d(outputs, outputs, 3, padding=1), 0.0)
        self.skip = init_(nn.Conv2d(inputs, outputs, 1)) if inputs != outputs or resample else None

    def forward(self, x: Tensor, time: Tensor, z: Tensor | None) -> Tensor:
        h = F.silu(self.norm1(x, z))
        if self.resample is not None:
            h, x = self.resample(h), self.resample(x)
        h = self.conv1(h) + self.time(time)[:, :, None, None]
        h = self.conv2(F.silu(self.norm2(h, z)))
        return _RSQRT2 * (h + (x if self.skip is None else self.skip(x)))


class Attention(nn.Module):
    """Self-attention over pixels with one head."""

    def __init__(self, channels: int):
        super().__init__()
        self.norm = nn.GroupNorm(_groups(channels), channels, eps=1e-6)
        self.query, self.key, self.value = (init_(nn.Linear(channels, channels), 0.1) for _ in range(3))
        self.out = init_(nn.Linear(channels, channels), 0.0)

    def forward(self, x: Tensor, *_: Any) -> Tensor:
        h = self.norm(x).flatten(2).transpose(1, 2)
        h = F.scaled_dot_product_attention(self.query(h), self.key(h), self.value(h))
        return _RSQRT2 * (x + self.out(h).transpose(1, 2).reshape(x.shape))


class PyramidDown(nn.Module):
    """Carries the image pyramid one level down: FIR filter and 3x3 convolution with stride 2."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv = init_(nn.Conv2d(inputs, outputs, 3))

    def forward(self, x: Tensor) -> Tensor:
        return conv_downsample(x, self.conv.weight, self.conv.bias)


class UNetGenerator(nn.Module):
    """Maps a noisy image, its time and a latent to a prediction in [-1, 1].

    Arguments:
        spec: Hyper-parameters.
        channels: Channels of the image.
        size: Its height and width.
        latent: The size of the latent; 0 for none (the ablation), which leaves plain group norms.
    """

    def __init__(self, spec: UNet, channels: int, size: int, latent: int):
        super().__init__()
        width, time, e = spec.width, 4 * spec.width, spec.embedding
        self.width, self.latent, self.patch = width, latent, spec.patch
        channels, size = channels * spec.patch**2, size // spec.patch
        mapping: list[nn.Module] = []
        for i in range(spec.mapping_layers + 1):
            mapping += [init_(nn.Linear(latent if i == 0 else e, e)), nn.SiLU()]
        self.mapping = nn.Sequential(*mapping) if latent else None
        self.time1, self.time2 = init_(nn.Linear(width, time)), init_(nn.Linear(time, time))
        self.first = init_(nn.Conv2d(channels, width, 3, padding=1))

        self.down = nn.ModuleList()
        skips, now, pyramid = [width], width, channels
        last = len(spec.multipliers) - 1
        for level, multiplier in enumerate(spec.multipliers):
            stage = nn.ModuleDict({"blocks": nn.ModuleList(), "attention": nn.ModuleList()})
            for _ in range(spec.blocks):
                stage["blocks"].append(Block(now, width * multiplier, time, e))
                now = width * multiplier
                if size >> level in spec.attention:
                    stage["attention"].append(Attention(now))
                skips.append(now)
            if level != last:
                stage["resample"] = Block(now, now, time, e, "down")
                stage["pyramid"] = PyramidDown(pyramid, now)
                pyramid = now
                skips.append(now)
            self.down.append(stage)
        self.middle = nn.ModuleList([Block(now, now, time, e), Attention(now), Block(now, now, time, e)])
        self.up = nn.ModuleList()
        for level in reversed(range(len(spec.multipliers))):
            stage = nn.ModuleDict({"blocks": nn.ModuleList(), "attention": nn.ModuleList()})
            for _ in range(spec.blocks + 1):
                stage["blocks"].append(Block(now + skips.pop(), width * spec.multipliers[level], time, e))
                now = width * spec.multipliers[level]
            if size >> level in spec.attention:
                stage["attention"].append(Attention(now))
            if level:
                stage["resample"] = Block(now, now, time, e, "up")
            self.up.append(stage)
        self.norm = nn.GroupNorm(_groups(now), now, eps=1e-6)
        self.last = init_(nn.Conv2d(now, channels, 3, padding=1), 0.0)

    def in_published_order(self) -> Iterator[nn.Module]:
        """Yields the modules in the order of the published `all_modules`."""

        yield from (self.time1, self.time2, self.first)
        for stage in self.down:
            for i, block in enumerate(stage["blocks"]):
                yield block
                yield from stage["attention"][i : i + 1]
            if "resample" in stage:
                yield from (stage["resample"], stage["pyramid"])
        yield from self.middle
        for stage in self.up:
            yield from stage["blocks"]
            yield from stage["attention"]
            if "resample" in stage:
                yield stage["resample"]
        yield from (self.norm, self.last)

    def forward(self, x: Tensor, t: Tensor, z: Tensor | None) -> Tensor:
        """Maps `(n, c, h, w)`, integer times `(n,)` and `(n, latent)` to `(n, c, h, w)`."""

        time = F.silu(self.time2(F.silu(self.time1(sinusoid(t, self.width, x.dtype)))))
        if self.mapping is not None and z is not None:
            z = self.mapping(z * torch.rsqrt(z.square().mean(1, keepdim=True) + 1e-8))
        pyramid = F.pixel_unshuffle(x, self.patch)
        h = self.first(pyramid)
        skips = [h]
        for stage in self.down:
            for i, block in enumerate(stage["blocks"]):
                h = block(h, time, z)
                for attention in stage["attention"][i : i + 1]:
                    h = attention(h)
                skips.append(h)
            if "resample" in stage:
                h = stage["resample"](h, time, z)
                pyramid = h = _RSQRT2 * (stage["pyramid"](pyramid) + h)
                skips.append(h)
        for module in self.middle:
            h = module(h, time, z)
        for stage in self.up:
            for block in stage["blocks"]:
                h = block(torch.cat([h, skips.pop()], 1), time, z)
            for attention in stage["attention"]:
                h = attention(h)
            if "resample" in stage:
                h = stage["resample"](h, time, z)
        return F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.patch).tanh()
