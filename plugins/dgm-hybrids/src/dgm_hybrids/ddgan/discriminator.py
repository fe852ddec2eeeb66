"""Time-dependent discriminators: is x_t what came before x_{t+1}? (thesis 6.4.7, Table 6.7, and the published code)."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore import Config
from dgmcore.config import Size

from .fir import downsample
from .unet import Embedding, init_, sinusoid

__all__ = ["Conv", "ConvDiscriminator", "minibatch_deviation"]


class Conv(Config, tag="conv", tag_field="kind"):
    """Hyper-parameters: `small` for 32 pixels and below, `large` for 256."""

    size: Literal["small", "large"] = "small"
    width: Size = 64
    embedding: Embedding = 256  # of the time
    patch: Size = 1  # as the generator's


_WIDTHS = {"small": (2, 4, 8, 8), "large": (4, 8, 8, 8, 8, 8)}


class DownBlock(nn.Module):
    """LeakyReLU, conv, + time, LeakyReLU, [FIR down], conv; plus a 1x1 skip; over sqrt 2. No normalisation."""

    def __init__(self, inputs: int, outputs: int, embedding: int, down: bool):
        super().__init__()
        self.down = down
        self.conv1 = init_(nn.Conv2d(inputs, outputs, 3, padding=1))
        self.time = init_(nn.Linear(embedding, outputs))
        self.conv2 = init_(nn.Conv2d(outputs, outputs, 3, padding=1), 0.0)
        self.skip = init_(nn.Conv2d(inputs, outputs, 1, bias=False))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        h = self.conv1(F.leaky_relu(x, 0.2)) + self.time(time)[:, :, None, None]
        h = F.leaky_relu(h, 0.2)
        if self.down:
            h, x = downsample(h), downsample(x)
        return (self.conv2(h) + self.skip(x)) / math.sqrt(2)


class ConvDiscriminator(nn.Module):
    """Logits of pairs of images."""

    def __init__(self, spec: Conv, channels: int):
        super().__init__()
        self.embedding, self.patch = spec.embedding, spec.patch
        e = spec.embedding
        self.time1, self.time2 = init_(nn.Linear(e, e)), init_(nn.Linear(e, e))
        widths = [2 * spec.width, *(m * spec.width for m in _WIDTHS[spec.size])]
        self.first = init_(nn.Conv2d(2 * channels * spec.patch**2, widths[0], 1))
        self.blocks = nn.ModuleList(
            DownBlock(a, b, e, down=spec.size == "large" or i > 0)
            for i, (a, b) in enumerate(itertools.pairwise(widths))
        )
        self.last = init_(nn.Conv2d(widths[-1] + 1, widths[-1], 3, padding=1))
        self.logit = init_(nn.Linear(widths[-1], 1))

    def forward(self, x: Tensor, t: Tensor, after: Tensor) -> Tensor:
        """Maps `x_t`, integer times `(n,)` and `x_{t+1}` to `(n,)`."""

        time = F.leaky_relu(self.time1(sinusoid(t, self.embedding, x.dtype)), 0.2)
        time = F.leaky_relu(self.time2(time), 0.2)
        h = self.first(F.pixel_unshuffle(torch.cat([x, after], 1), self.patch))
        for block in self.blocks:
            h = block(h, time)
        h = F.leaky_relu(self.last(minibatch_deviation(h)), 0.2)
        return self.logit(h.sum((2, 3))).squeeze(1)


def minibatch_deviation(x: Tensor, group: int = 4) -> Tensor:
    """Appends a map with the mean standard deviation over groups of the batch (Karras et al., 2020).

    Sample i is grouped with i + B/group, i + 2 B/group, ...; a batch that 4 does not divide has smaller groups.
    """

    n = x.shape[0]
    group = next(g for g in range(min(n, group), 0, -1) if n % g == 0)
    y = x.reshape(group, n // group, *x.shape[1:])
    deviation = (y.var(0, unbiased=False) + 1e-8).sqrt().mean((1, 2, 3))
    return torch.cat([x, deviation.repeat(group)[:, None, None, None].expand(n, 1, *x.shape[2:])], 1)
