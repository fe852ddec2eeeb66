r"""The autoregressive cells of NVAE's posteriors (volume-preserving, shift only)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .layers import Conv2d

__all__ = ["AutoregressiveCell", "FlowPair", "causal_mask"]


def causal_mask(c_in: int, c_out: int, kernel: int, *, depthwise: bool, strict: bool, mirror: bool) -> Tensor:
    """Returns the mask of a convolution that sees the pixels before its own, and at its own the channels before.

    Pixels are in raster order. If there are more output than input channels, equal blocks of them belong to an input
    channel, and the other way round.

    Arguments:
        strict: Whether a channel is kept from seeing itself.
        mirror: Whether the raster order is reversed (the order of channels is not).
    """

    blocks = min(c_in, c_out)
    source = torch.arange(c_in) * blocks // c_in
    target = torch.arange(c_out) * blocks // c_out
    if depthwise:
        centre = torch.full((c_out, 1), 0.0 if strict else 1.0)
    else:
        s, t = source[None, :], target[:, None]
        centre = (s < t if strict else s <= t).float()
    mask = torch.zeros(c_out, centre.shape[1], kernel, kernel)
    middle = kernel // 2
    mask[:, :, :middle] = 1.0
    mask[:, :, middle, :middle] = 1.0
    if mirror:
        mask = mask.flip(2, 3)
    mask[:, :, middle, middle] = centre
    return mask


class AutoregressiveCell(nn.Module):
    r"""Shifts `z` by :math:`\mu(z)`, in which each entry depends on the entries before it: log-determinant 0."""

    def __init__(self, latents: int, mirror: bool, expand: int = 6):
        super().__init__()
        hidden = latents * expand

        def conv(c_in: int, c_out: int, kernel: int, strict: bool, **kwargs) -> Conv2d:
            mask = causal_mask(c_in, c_out, kernel, depthwise="groups" in kwargs, strict=strict, mirror=mirror)
            return Conv2d(c_in, c_out, kernel, padding=kernel // 2, mask=mask, **kwargs)

        self.expand = conv(latents, hidden, 3, True, bias=False)
        self.depthwise = conv(hidden, hidden, 5, False, bias=False, groups=hidden)
        self.shift = conv(hidden, latents, 1, False, scale=0.1)

    def forward(self, z: Tensor) -> Tensor:
        h = F.elu(self.depthwise(F.elu(self.expand(z))))
        return z - self.shift(F.elu(h))  # ELU twice, as published: its layers end and begin with one


class FlowPair(nn.Module):
    """Two autoregressive cells, the second in the reversed raster order."""

    def __init__(self, latents: int):
        super().__init__()
        self.first, self.second = AutoregressiveCell(latents, False), AutoregressiveCell(latents, True)

    def forward(self, z: Tensor) -> Tensor:
        return self.second(self.first(z))
