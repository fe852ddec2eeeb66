r"""Energy networks: critics that score a datum by minus its energy, :math:`s(x) = -f_\theta(x)`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgmcore import Model
from dgmcore.config import Config, Positive, Real, Shape, Size, Widths
from dgmcore.errors import RegistryError

from .weightnorm import WNConv2d, data_dependent_init

__all__ = ["LAYOUTS", "ConvEnergy", "EnergyNetwork", "MLPEnergy", "ResNetEnergy", "read_layout"]

Interval = tuple[Real, Real]


class EnergyNetwork(Model):
    """Base of energy networks. A subclass implements :meth:`energy`."""

    class Config(Config):
        event_shape: Shape = (2,)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.config.event_shape)

    def energy(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to the energies `(n,)`, lower for what is more like the data."""

        raise NotImplementedError

    def score(self, x: Tensor) -> Tensor:
        return -self.energy(x)

    def initialize(self, x: Tensor) -> None:
        """Initialises what depends on data from a large batch; nothing by default."""


class MLPEnergy(EnergyNetwork):
    r"""A multilayer perceptron with swish, optionally on Fourier features.

    With `frequencies` k the input is :math:`x, \sin(2^j x), \cos(2^j x)` for j < k, which lets a small network
    bend sharply.

    Example:
        >>> MLPEnergy({"event_shape": [2], "hidden": [64, 64]}).score(torch.zeros(5, 2)).shape
        torch.Size([5])
    """

    class Config(Config):
        event_shape: Shape = (2,)
        hidden: Widths = (128, 128, 128)
        #: Data are divided by it.
        scale: Positive = 1.0
        frequencies: Annotated[int, msgspec.Meta(ge=0, le=20)] = 0

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        sizes = (torch.Size(self.event_shape).numel() * (1 + 2 * self.config.frequencies), *self.config.hidden)
        layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.SiLU())]
        self.net = nn.Sequential(*layers, nn.Linear(sizes[-1], 1))

    def energy(self, x: Tensor) -> Tensor:
        return self.net(self._features(x.flatten(1) / self.config.scale)).squeeze(1)

    def _features(self, x: Tensor) -> Tensor:
        if not self.config.frequencies:
            return x
        turns = [2.0**j * x for j in range(self.config.frequencies)]
        return torch.cat([x, *(t.sin() for t in turns), *(t.cos() for t in turns)], 1)

    def ascent(self, x: Tensor, tangents: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
        r"""Returns the score's gradient, shaped as x, and :math:`\sum_k e_k^T \nabla\nabla s\, e_k`, `(n,)`.

        Arguments:
            x: Points, `(n, *event_shape)`.
            tangents: The vectors :math:`e_k`, `(k, n, *event_shape)`, or None where no curvature is asked for.

        With :math:`a_l` the affine outputs of layer l, :math:`z_l` the energy's gradient by its activations and J the
        derivative along a tangent, :math:`e^T \nabla\nabla f\, e = \sum_l z_l \cdot \sigma''(a_l) (J a_l)^2`: one
        pass forward and one back, both plain tensor operations, which autograd differentiates once more in training.
        """

        scale, frequencies = self.config.scale, [2.0**j for j in range(self.config.frequencies)]
        shape, x = x.shape, x.flatten(1) / scale
        h, turns = self._features(x), [f * x for f in frequencies]
        sines, cosines = [t.sin() for t in turns], [t.cos() for t in turns]
        moved = None
        if tangents is not None:
            v = tangents.flatten(2) / scale
            slopes = [f * c for f, c in zip(frequencies, cosines, strict=True)]
            slopes += [-f * s for f, s in zip(frequencies, sines, strict=True)]
            moved = torch.cat([v, *(slope * v for slope in slopes)], 2) if frequencies else v
        firsts, bends = [], []  # sigma' and sigma'' (J a)^2 of each layer
        *hidden, last = [layer for layer in self.net if isinstance(layer, nn.Linear)]
        for layer in hidden:
            a = layer(h)
            gate = a.sigmoid()
            h = a * gate
            firsts.append(gate + h * (1 - gate))
            if moved is not None:
                moved = moved @ layer.weight.T
                bends.append(gate * (1 - gate) * (2 + a * (1 - 2 * gate)) * moved.square().sum(0))
                moved = firsts[-1] * moved
        z, curvature = last.weight, x.new_zeros(())
        for i in reversed(range(len(hidden))):
            if bends:
                curvature = curvature + (z * bends[i]).sum(1)
            z = (z * firsts[i]) @ hidden[i].weight
        by_x, *by_turns = z.split(x.shape[1], 1)
        k = len(frequencies)
        for f, s, c, by_sine, by_cosine in zip(frequencies, sines, cosines, by_turns[:k], by_turns[k:], strict=True):
            by_x = by_x + f * (by_sine * c - by_cosine * s)
            if tangents is not None:
                curvature = curvature - (f * f * (by_sine * s + by_cosine * c) * v.square().sum(0)).sum(1)
        return (-by_x / scale).view(shape), None if tangents is None else -curvature


class ConvEnergy(EnergyNetwork):
    """The convolutional networks of thesis Table 5.2: 3x3, then 4x4 of stride 2, flatten, linear; swish after each.

    `multipliers` are (2, 2, 2) for MNIST and Fashion-MNIST (padded to 32x32), (2, 4, 8) for CIFAR-10 and
    (2, 4, 8, 16) for CelebA; `channels` 32, for CIFAR-10 64.
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (1, 32, 32)
        channels: Size = 32
        multipliers: Widths = (2, 2, 2)

    example: ClassVar[Mapping[str, Any]] = {"event_shape": [1, 8, 8], "channels": 4, "multipliers": [2, 2]}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c, height, width = self.event_shape
        sizes = [self.config.channels * m for m in (1, *self.config.multipliers)]
        convs: list[nn.Module] = [nn.Conv2d(c, sizes[0], 3, 1, 1), nn.SiLU()]
        for a, b in pairwise(sizes):
            convs += [nn.Conv2d(a, b, 4, 2, 1), nn.SiLU()]
            height, width = height // 2, width // 2
        self.convs = nn.Sequential(*convs)
        self.linear = nn.Linear(sizes[-1] * height * width, 1)

    def energy(self, x: Tensor) -> Tensor:
        return self.linear(self.convs(x).flatten(1)).squeeze(1)


# --- the residual networks of VAEBM --------------------------------------------------------------

#: Blocks of the published networks (thesis Table 4.9): multiples of the channels, d where a block halves the size.
LAYOUTS = {
    "mnist": "1d 1 2d 2",
    "cifar10": "1d 1 2d 2 2d 2",
    "celeba64": "1d 1 2d 2 2d 4 4d 4",
    "lsun64": "1d 1 2d 2 2 2d 4 4 4d 4",
    "celebahq256": "1d 1 2d 2 2d 2 4d 4 4d 4 8d 8",
    "small": "1d 1 1 2d 2 2",  # section 4.4.1: three of 64 and three of 128 channels
}


def lip_swish(x: Tensor) -> Tensor:
    """Swish divided by 1.1, whose slope is at most 1 (Chen et al., 2019)."""

    return F.silu(x) / 1.1


class ResBlock(nn.Module):
    """conv, Lip-swish, conv, plus the skip, then a mean over 2x2 pixels if `down`, then Lip-swish."""

    def __init__(self, conv: type[nn.Conv2d], c_in: int, c_out: int, down: bool):
        super().__init__()
        self.down = down
        self.conv1 = conv(c_in, c_out, 3, 1, 1)
        self.conv2 = conv(c_out, c_out, 3, 1, 1)
        self.skip = nn.Sequential(conv(c_in, c_out, 1, bias=False)) if down or c_in != c_out else nn.Sequential()

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv2(lip_swish(self.conv1(x)))
        if self.down:  # a mean over pixels commutes with the 1x1 convolution of the skip, which is then cheaper
            return lip_swish(F.avg_pool2d(y, 2) + self.skip(F.avg_pool2d(x, 2)))
        return lip_swish(y + self.skip(x))


class ResNetEnergy(EnergyNetwork):
    """The residual networks of VAEBM: weight-normalised convolutions, Lip-swish, global sum pooling.

    The published networks see data in [0, 1]; `data_range` says in which range :meth:`score` gets them.

    References:
        VAEBM (Xiao et al., 2021), https://arxiv.org/abs/2010.00654; thesis, Table 4.9
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (3, 64, 64)
        channels: Size = 64
        #: A name of LAYOUTS, or blocks as "1d 1 2d 2".
        layout: str = "celeba64"
        #: Stride of the first convolution; 1 as published, 2 or 4 for cheap networks on a CPU.
        stem_stride: Literal[1, 2, 4] = 1
        #: Side of the squares of pixels that are averaged first. A decoder's mean lacks fine detail wherever it is
        #: drawn; an energy that can't see it judges shapes instead.
        shrink: Size = 1
        pooling: Literal["sum", "mean"] = "sum"
        #: Factor on the energy: how steep it may get without large weights.
        scale: Real = 1.0
        weight_norm: bool = True
        data_range: Interval = (-1.0, 1.0)
        input_range: Interval = (0.0, 1.0)

        def __post_init__(self) -> None:
            if not self.data_range[0] < self.data_range[1]:
                raise ValueError("data_range: the lower end comes first")

    example: ClassVar[Mapping[str, Any]] = {"event_shape": [3, 8, 8], "channels": 4, "layout": "1d 1"}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        conv = WNConv2d if self.config.weight_norm else nn.Conv2d
        c, s, shrink = self.config.channels, self.config.stem_stride, self.config.shrink
        if any(side % shrink for side in self.event_shape[1:]):
            raise RegistryError(
                f"config of resnet-energy: shrink: {shrink} does not divide {list(self.event_shape[1:])}",
                "choose a divisor of both sides; 1 judges pictures as they are",
            )
        self.conv1 = conv(self.event_shape[0], c, 3, 1, 1) if s == 1 else conv(self.event_shape[0], c, 2 * s, s, s // 2)
        blocks, c_in = [], c
        for multiple, down in read_layout(self.config.layout):
            blocks.append(ResBlock(conv, c_in, c * multiple, down))
            c_in = c * multiple
        self.blocks = nn.ModuleList(blocks)
        self.linear = nn.Linear(c_in, 1)

    def energy(self, x: Tensor) -> Tensor:
        have, want = self.config.data_range, self.config.input_range
        if have != want:
            x = (x - have[0]) * ((want[1] - want[0]) / (have[1] - have[0])) + want[0]
        if self.config.shrink > 1:
            x = F.avg_pool2d(x, self.config.shrink)
        x = lip_swish(self.conv1(x))
        for block in self.blocks:
            x = block(x)
        x = x.sum((2, 3)) if self.config.pooling == "sum" else x.mean((2, 3))
        return self.config.scale * self.linear(x).squeeze(1)

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Sets norms and biases so that each convolution's outputs on `x` have mean 0 and deviation 1/5."""

        with data_dependent_init(self):
            self.energy(x)


def read_layout(layout: str) -> list[tuple[int, bool]]:
    """Returns the multiple of the channels of each block, and whether it halves the size."""

    blocks = LAYOUTS.get(layout, layout).split()
    if not blocks or not all(re.fullmatch(r"[1-9]\d?d?", b) for b in blocks):
        raise RegistryError(
            f"config of resnet-energy: layout: {layout!r} is no layout",
            f"write blocks as '1d 1 2d 2', or one of {', '.join(LAYOUTS)}",
        )
    return [(int(b.rstrip("d")), b.endswith("d")) for b in blocks]
