r"""Resampling with the finite impulse response filter [1, 3, 3, 1], in plain PyTorch.

Each channel is filtered by one depthwise convolution, strided or transposed, instead of zero-stuffing, padding and
filtering one image a channel.

References:
    Making Convolutional Networks Shift-Invariant Again (Zhang, 2019)
    Analyzing and Improving the Image Quality of StyleGAN (Karras et al., 2020), appendix B
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["conv_downsample", "downsample", "upsample"]


def _kernel(like: Tensor, gain: float = 1.0) -> Tensor:
    k = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=like.dtype, device=like.device) / 8
    return (gain * torch.outer(k, k)).expand(like.shape[1], 1, 4, 4)


def downsample(x: Tensor) -> Tensor:
    """Filters and halves height and width."""
    return F.conv2d(x, _kernel(x), stride=2, padding=1, groups=x.shape[1])


def upsample(x: Tensor) -> Tensor:
    """Doubles height and width and filters; constants stay what they are."""
    return F.conv_transpose2d(x, _kernel(x, gain=4.0), stride=2, padding=1, groups=x.shape[1])


def conv_downsample(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Filters, then convolves with stride 2 (3x3 weights)."""
    return F.conv2d(F.conv2d(x, _kernel(x), padding=2, groups=x.shape[1]), weight, bias, stride=2)
