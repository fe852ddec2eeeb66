r"""The layers and cells of NVAE (Vahdat & Kautz, 2020; thesis 4.4.3)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Cell", "Conv2d", "DecoderCombiner", "EncoderCombiner", "Style", "elu_conv"]


class Conv2d(nn.Conv2d):
    r"""A convolution with weight normalisation :math:`e^{l_c} w_c / (|w_c| + 10^{-5})` per output channel `c`.

    In eval mode the normalised weight is computed once for as long as the weights stay the same.

    Arguments:
        mask: An optional mask `(out, in / groups, k, k)` of the weight, for autoregressive convolutions.
        scale: The initial weights are multiplied by it.
    """

    log_weight_norm: Tensor

    def __init__(self, *args, mask: Tensor | None = None, scale: float = 1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.register_buffer("mask", mask, persistent=False)
        weight = self.weight.detach() if mask is None else self.weight.detach() * mask
        norm = weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        self.log_weight_norm = nn.Parameter(torch.log(scale * norm + 1e-2))
        self._cached: tuple[tuple, Tensor] | None = None

    def normalized_weight(self) -> Tensor:
        """Returns the weight that the convolution uses, shape `(out, in / groups, k, k)`."""
        frozen = not torch.is_grad_enabled() or not self.weight.requires_grad
        if self.training or not frozen:
            return self._normalize()
        w, g = self.weight, self.log_weight_norm
        key = (w.data_ptr(), w._version, g.data_ptr(), g._version, w.dtype, w.device)
        if self._cached is None or self._cached[0] != key:
            with torch.inference_mode(False), torch.no_grad():  # gradients by inputs may pass through it later
                self._cached = key, self._normalize()
        return self._cached[1]

    def train(self, mode: bool = True) -> Conv2d:
        self._cached = None  # torch's fused optimisers change parameters without counting it in their versions
        return super().train(mode)

    def _normalize(self) -> Tensor:
        weight = self.weight if self.mask is None else self.weight * self.mask
        norm = weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        return weight * (self.log_weight_norm.exp() / (norm + 1e-5))

    def forward(self, x: Tensor) -> Tensor:
        return self._conv_forward(x, self.normalized_weight(), self.bias)

    def __getstate__(self):
        return {**super().__getstate__(), "_cached": None}


@dataclass(frozen=True)
class Style:
    """What all cells of a net share."""

    norm: Literal["batch", "group"] = "batch"
    weight_norm: bool = True
    squeeze_excite: bool = True
    scale: float = 0.1  # of the residual branch

    def conv(self, c_in: int, c_out: int, kernel: int = 1, **kwargs) -> nn.Conv2d:
        """A convolution that keeps the size."""
        kind = Conv2d if self.weight_norm else nn.Conv2d
        return kind(c_in, c_out, kernel, padding=kernel // 2, **kwargs)

    def normalize(self, channels: int) -> nn.Module:
        if self.norm == "group":
            return nn.GroupNorm(math.gcd(8, channels), channels)
        return nn.BatchNorm2d(channels, eps=1e-5, momentum=0.05)

    def act(self, channels: int) -> nn.Sequential:
        """Normalisation and swish."""
        return nn.Sequential(self.normalize(channels), nn.SiLU(inplace=True))


class SqueezeExcite(nn.Module):
    """Channel attention: global mean, two dense layers, sigmoid."""

    def __init__(self, channels: int):
        super().__init__()
        hidden = max(channels // 16, 4)
        self.squeeze, self.excite = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def forward(self, x: Tensor) -> Tensor:
        gate = torch.sigmoid(self.excite(F.relu(self.squeeze(x.mean((2, 3))))))
        return x * gate[:, :, None, None]


class FactorizedReduce(nn.Module):
    """Swish and four 1x1 convolutions of stride 2 on shifted images, concatenated."""

    def __init__(self, c_in: int, c_out: int, style: Style):
        super().__init__()
        quarter = c_out // 4
        sizes = (quarter, quarter, quarter, c_out - 3 * quarter)
        self.convs = nn.ModuleList(style.conv(c_in, c, stride=2) for c in sizes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.silu(x)
        shifts = ((0, 0), (1, 1), (0, 1), (1, 0))
        return torch.cat([conv(x[:, :, i:, j:]) for conv, (i, j) in zip(self.convs, shifts, strict=True)], 1)


class Upsample(nn.Module):
    """Bilinear interpolation to twice the size, corners aligned, and a 1x1 convolution."""

    def __init__(self, c_in: int, c_out: int, style: Style):
        super().__init__()
        self.conv = style.conv(c_in, c_out, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        # a 1x1 convolution and an interpolation commute; at the small size it costs a quarter
        return F.interpolate(self.conv(x), scale_factor=2, mode="bilinear", align_corners=True)


class ResidualOps(nn.Module):
    """Twice norm, swish, 3x3 convolution (`res_bnswish`); the first changes size and channels."""

    def __init__(self, c_in: int, c_out: int, resize: int, style: Style):
        super().__init__()
        self.resize = resize
        self.norms = nn.ModuleList([style.act(c_in), style.act(c_out)])
        self.convs = nn.ModuleList(
            [style.conv(c_in, c_out, 3, stride=2 if resize < 0 else 1), style.conv(c_out, c_out, 3)]
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.norms[0](x)
        if self.resize > 0:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
        return self.convs[1](self.norms[1](self.convs[0](x)))


class InvertedOps(nn.Sequential):
    """Norm, 1x1 to `expand` times the channels, 5x5 depthwise, 1x1 back (`mconv_e6k5g0`)."""

    def __init__(self, c_in: int, c_out: int, resize: int, expand: int, style: Style):
        hidden = c_in * expand
        layers: list[nn.Module] = [nn.Upsample(scale_factor=2, mode="nearest")] if resize > 0 else []
        layers += [
            style.normalize(c_in),
            nn.Conv2d(c_in, hidden, 1, bias=False),
            style.act(hidden),
            nn.Conv2d(hidden, hidden, 5, padding=2, stride=2 if resize < 0 else 1, groups=hidden, bias=False),
            style.act(hidden),
            nn.Conv2d(hidden, c_out, 1, bias=False),
            style.normalize(c_out),
        ]
        super().__init__(*layers)


class Cell(nn.Module):
    r"""A residual cell: :math:`\mathrm{skip}(x) + s\, \mathrm{SE}(\mathrm{ops}(x))`.

    Arguments:
        resize: -1 halves the size, +1 doubles it, 0 keeps it.
        expand: 0 for two 3x3 convolutions, else the expansion of a depthwise cell.
    """

    def __init__(self, c_in: int, c_out: int, resize: int, expand: int, style: Style):
        super().__init__()
        self.skip = {-1: FactorizedReduce, 1: Upsample}[resize](c_in, c_out, style) if resize else nn.Identity()
        self.ops = (
            InvertedOps(c_in, c_out, resize, expand, style) if expand else ResidualOps(c_in, c_out, resize, style)
        )
        self.se = SqueezeExcite(c_out) if style.squeeze_excite else nn.Identity()
        self.scale = style.scale

    def forward(self, x: Tensor) -> Tensor:
        return torch.add(self.skip(x), self.se(self.ops(x)), alpha=self.scale)


class EncoderCombiner(nn.Module):
    """Features of a group's posterior: the encoder's plus a 1x1 convolution of the decoder's."""

    def __init__(self, channels: int, style: Style):
        super().__init__()
        self.conv = style.conv(channels, channels)

    def forward(self, encoded: Tensor, h: Tensor) -> Tensor:
        return encoded + self.conv(h)


class DecoderCombiner(nn.Module):
    """Puts a latent into the decoder's features: a 1x1 convolution of both."""

    def __init__(self, channels: int, latents: int, style: Style):
        super().__init__()
        self.conv = style.conv(channels + latents, channels)

    def forward(self, h: Tensor, z: Tensor) -> Tensor:
        return self.conv(torch.cat([h, z.to(h.dtype)], 1))


def elu_conv(c_in: int, c_out: int, kernel: int, style: Style) -> nn.Sequential:
    """ELU and a convolution."""
    return nn.Sequential(nn.ELU(), style.conv(c_in, c_out, kernel))
