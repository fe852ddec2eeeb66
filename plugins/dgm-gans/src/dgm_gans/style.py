r"""The style generator and its critic: mapping network, modulated convolutions, noise at each layer.

All weights are kept at unit variance and scaled where they are used ("equalised learning rate", [1], section 4.1), so
that one rate suits every layer.

References:
    [1] Progressive Growing of GANs (Karras et al., 2018), https://arxiv.org/abs/1710.10196
    [2] A Style-Based Generator Architecture for GANs (Karras et al., 2019), https://arxiv.org/abs/1812.04948
    [3] Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), https://arxiv.org/abs/1912.04958
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .networks import MinibatchDeviation

__all__ = ["MappingNetwork", "ModulatedConv", "ResidualCritic", "RunningMean", "StyleGenerator"]

_SLOPE = 0.2
_GAIN = math.sqrt(2)  # a leaky ReLU halves the second moment, nearly


class EqualLinear(nn.Module):
    r"""A linear layer :math:`y = g W x / \sqrt{d} + r b`, W of unit variance at rate r = 1; small ones learn slowly."""

    def __init__(self, inputs: int, outputs: int, *, gain: float = 1.0, rate: float = 1.0, bias: float = 0.0):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs) / rate)
        self.bias = nn.Parameter(torch.full((outputs,), bias / rate))
        self.scale, self.rate = gain * rate / math.sqrt(inputs), rate

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, inputs)` to `(n, outputs)`."""
        return F.linear(x, self.weight * self.scale, self.bias * self.rate)


class EqualConv(nn.Module):
    """A convolution with weights of unit variance, scaled by `gain` over the root of the fan-in; the size is kept."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, gain: float = 1.0, bias: bool = True):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.scale, self.padding = gain / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, inputs, h, w)` to `(n, outputs, h, w)`."""
        return F.conv2d(x, self.weight * self.scale, self.bias, padding=self.padding)


class ModulatedConv(nn.Module):
    r"""A convolution whose weights a style scales per sample ([3], equations 1 to 3), plus a bias.

    .. math::
        w'_{oik} = s_i w_{oik}, \qquad
        w''_{oik} = g\, w'_{oik} \Big/ \sqrt{\textstyle\sum_{i,k} w'^2_{oik} + 10^{-8}}, \qquad s = A w + b

    The division, "demodulation", gives outputs the variance :math:`g^2` if the inputs have variance 1 and are
    independent. Scaling inputs by s and outputs by the root's inverse is the same, and needs one set of weights for the
    whole batch.

    Arguments:
        inputs: Channels of the input.
        outputs: Channels of the output.
        code: The size of the style code w.
        kernel: The side of the kernel, odd.
        gain: g.
        demodulate: Whether to divide; without it weights are scaled by g over the root of their fan-in.
    """

    def __init__(
        self, inputs: int, outputs: int, code: int, kernel: int, *, gain: float = 1.0, demodulate: bool = True
    ):
        super().__init__()
        self.style = EqualLinear(code, inputs, bias=1.0)
        self.weight = nn.Parameter(torch.randn(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.gain, self.demodulate = gain, demodulate
        self.scale, self.padding = 1 / math.sqrt(inputs * kernel**2), kernel // 2

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Maps `(n, inputs, h, w)` and style codes `(n, code)` to `(n, outputs, h, w)`."""
        style, weight = self.style(code), self.weight * self.scale
        y = F.conv2d(x * style[:, :, None, None], weight, padding=self.padding)
        scale = self._demodulation(style, weight) if self.demodulate else torch.ones_like(style[:, :1])
        # of the convolution's dtype: under autocast its outputs are half as wide as the parameters
        scale, bias = (self.gain * scale).to(y.dtype), self.bias.to(y.dtype)
        return torch.addcmul(bias[None, :, None, None], y, scale[:, :, None, None])

    def _demodulation(self, style: Tensor, weight: Tensor) -> Tensor:
        """Returns the inverse norms of the modulated weights, `(n, outputs)`, in float32 at least."""
        wide = torch.promote_types(weight.dtype, torch.float32)
        squares = weight.to(wide).square().sum((2, 3))
        # no matrix product: autocast would do it in half precision
        return ((style.to(wide).square()[:, None] * squares).sum(2) + 1e-8).rsqrt()


class MappingNetwork(nn.Module):
    r"""A perceptron from noise :math:`z / \sqrt{\overline{z^2}}` to style codes w ([2], section 2).

    Arguments:
        q: The size of z.
        code: The size of w.
        depth: The number of layers.
        rate: How much slower than others its layers learn, 0.01 as published.
    """

    def __init__(self, q: int, code: int, depth: int, rate: float = 0.01):
        super().__init__()
        sizes = [q] + [code] * depth
        self.layers = nn.ModuleList(EqualLinear(a, b, gain=_GAIN, rate=rate) for a, b in itertools.pairwise(sizes))

    def forward(self, z: Tensor) -> Tensor:
        """Maps `(n, q)` to `(n, code)`."""
        h = z * (z.square().mean(1, keepdim=True) + 1e-8).rsqrt()
        for layer in self.layers:
            h = F.leaky_relu(layer(h), _SLOPE)
        return h


class RunningMean(nn.Module):
    """Keeps the mean of what passes in train mode; `momentum` and `reset_running_stats` are as of batch norm."""

    mean: Tensor

    def __init__(self, size: int, momentum: float | None = 0.005):
        super().__init__()
        self.momentum, self.batches = momentum, 0
        self.register_buffer("mean", torch.zeros(size))

    def reset_running_stats(self) -> None:
        """Forgets; with `momentum` None the mean is then the plain one of all batches to come."""
        self.batches = 0
        self.mean.zero_()

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Returns the mean, `(size,)`, after taking in `x`, `(n, size)`, in train mode."""
        if self.training:
            self.batches += 1
            rate = 1 / self.batches if self.momentum is None else self.momentum
            self.mean.lerp_(x.to(self.mean.dtype).mean(0), rate)
        return self.mean


class StyleLayer(nn.Module):
    """A modulated convolution, doubled in size if asked, noise of one learned strength, and a leaky ReLU."""

    def __init__(self, inputs: int, outputs: int, code: int, double: bool):
        super().__init__()
        self.conv = ModulatedConv(inputs, outputs, code, 3, gain=_GAIN)
        self.strength = nn.Parameter(torch.zeros(()))
        self.double = double

    def forward(self, x: Tensor, code: Tensor, noise: Tensor) -> Tensor:
        """Maps `(n, inputs, h, w)`, codes `(n, code)` and noise `(n, 1, H, W)` to `(n, outputs, H, W)`."""
        x = self.conv(x, code)
        if self.double:
            x = _double(x)
        return F.leaky_relu(x + (self.strength * noise).to(x.dtype), _SLOPE)


class StyleGenerator(nn.Module):
    r"""A learned constant of 4x4 that styles and noise turn into a picture, resolution by resolution ([3], figure 7b).

    At each resolution there are two layers (one at 4x4), and a picture is read off; pictures are doubled and added up,
    and the sum goes through tanh, as data are in [-1, 1]. Layers that double the size convolve first and interpolate
    bilinearly then, where [3] has a strided transposed convolution followed by a blur: the same cost.

    Arguments:
        q: The size of the noise z.
        code: The size of the style code w.
        depth: Layers of the mapping network.
        channels: Channels of the image.
        widths: Channels at 4x4, 8x8, ...: n of them make images of 4 * 2^(n - 1) pixels.

    Attributes:
        noise_shapes: The shapes of the noises `noise0`, `noise1`, ... of its layers.
        mean: The mean of style codes, which truncation draws them to.
    """

    def __init__(self, q: int, code: int, depth: int, channels: int, widths: Sequence[int]):
        super().__init__()
        self.mapping = MappingNetwork(q, code, depth)
        self.mean = RunningMean(code)
        self.constant = nn.Parameter(torch.randn(1, widths[0], 4, 4))
        layers, sizes = [StyleLayer(widths[0], widths[0], code, False)], [4]
        for a, b in itertools.pairwise(widths):
            layers += [StyleLayer(a, b, code, True), StyleLayer(b, b, code, False)]
            sizes += [2 * sizes[-1]] * 2
        self.layers = nn.ModuleList(layers)
        # so that the sum of the first pictures is well inside the range of tanh
        gain = 0.5 / math.sqrt(len(widths))
        self.pictures = nn.ModuleList(ModulatedConv(a, channels, code, 1, gain=gain, demodulate=False) for a in widths)
        self.noise_shapes = {f"noise{i}": (1, size, size) for i, size in enumerate(sizes)}

    def forward(self, eps: Mapping[str, Tensor], truncation: float = 1.0) -> Tensor:
        r"""Maps `z`, `(n, q)`, and the layers' noises to `(n, channels, size, size)`.

        Arguments:
            eps: Noise by name.
            truncation: :math:`\psi` in [0, 1]: codes are :math:`\bar w + \psi (w - \bar w)` ([2], section B).
        """
        code = self.mapping(eps["z"])
        mean = self.mean(code)
        if truncation != 1:
            code = mean + truncation * (code - mean)
        x = self.constant.expand(code.shape[0], -1, -1, -1)
        picture: Tensor | None = None
        for i, layer in enumerate(self.layers):
            x = layer(x, code, eps[f"noise{i}"])
            if i % 2 == 0:  # the last layer of its resolution
                more = self.pictures[i // 2](x, code)
                picture = more if picture is None else _double(picture) + more
        assert picture is not None
        return picture.tanh()


class ResidualCritic(nn.Module):
    """The residual discriminator of [3], figure 7c; returns logits.

    Arguments:
        channels: Channels of the image.
        widths: Channels at 4x4, 8x8, ..., as the generator's.
        deviation: Appends the minibatch standard deviation ([1], section 3) at 4x4; in eval mode it is a running mean,
            so that a score does not depend on the batch.
    """

    def __init__(self, channels: int, widths: Sequence[int], deviation: bool = False):
        super().__init__()
        self.start = EqualConv(channels, widths[-1], 1, gain=_GAIN)
        self.blocks = nn.Sequential(*(ResidualBlock(a, b) for a, b in itertools.pairwise(reversed(widths))))
        self.deviation = MinibatchDeviation() if deviation else nn.Identity()
        self.conv = EqualConv(widths[0] + deviation, widths[0], 3, gain=_GAIN)
        self.hidden = EqualLinear(16 * widths[0], widths[0], gain=_GAIN)
        self.last = EqualLinear(widths[0], 1)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, channels, size, size)` to `(n,)`."""
        h = self.blocks(F.leaky_relu(self.start(x), _SLOPE))
        h = F.leaky_relu(self.conv(self.deviation(h)), _SLOPE)
        h = F.leaky_relu(self.hidden(h.flatten(1)), _SLOPE)
        # no matrix product: autocast would round logits to three digits
        last = self.last
        return (h.to(last.weight.dtype) * (last.weight * last.scale)).sum(1) + last.bias


class ResidualBlock(nn.Module):
    """Two convolutions that halve the size, beside a straight way; the sum is of the inputs' variance."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = EqualConv(inputs, inputs, 3, gain=_GAIN)
        self.conv2 = EqualConv(inputs, outputs, 3)  # sqrt(2) for the ReLU, sqrt(1/2) for the sum
        self.skip = EqualConv(inputs, outputs, 1, gain=math.sqrt(0.5), bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, inputs, 2h, 2w)` to `(n, outputs, h, w)`."""
        h = F.avg_pool2d(F.leaky_relu(self.conv1(x), _SLOPE), 2)
        return F.leaky_relu(self.conv2(h), _SLOPE) + self.skip(F.avg_pool2d(x, 2))


def _double(x: Tensor) -> Tensor:
    """Maps `(n, c, h, w)` to `(n, c, 2h, 2w)`, bilinearly."""
    return F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
