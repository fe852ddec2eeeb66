"""Convolutions with weight normalisation, as NVAE and VAEBM publish them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

__all__ = ["WNConv2d", "data_dependent_init"]


class WNConv2d(nn.Conv2d):
    r"""A convolution with the weight :math:`e^{l_c} w_c / (|w_c| + 10^{-5})` for each output channel c.

    In eval mode, where the weights need no gradient (sampling, frozen networks), the normalised weight is computed
    once and kept until a parameter changes or the mode does: torch's fused optimisers change parameters unnoticed.

    References:
        Weight Normalization (Salimans and Kingma, 2016), https://arxiv.org/abs/1602.07868
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.log_weight_norm = nn.Parameter(torch.log(self._norm(self.weight.detach()) + 1e-2))
        self._initializing = False
        self._kept: tuple[tuple, Tensor] | None = None

    @staticmethod
    def _norm(weight: Tensor) -> Tensor:
        return weight.square().sum((1, 2, 3), keepdim=True).sqrt()

    def _direction(self) -> Tensor:
        return self.weight / (self._norm(self.weight) + 1e-5)

    def normalized_weight(self) -> Tensor:
        """Returns the weight that the convolution uses, shape `(C_out, C_in, k, k)`."""

        wanted = torch.is_grad_enabled() and (self.weight.requires_grad or self.log_weight_norm.requires_grad)
        if self.training or wanted or torch.compiler.is_exporting():
            return self.log_weight_norm.exp() * self._direction()
        state = tuple((p.data_ptr(), p._version, p.dtype) for p in (self.weight, self.log_weight_norm))
        if self._kept is None or self._kept[0] != state:
            with torch.inference_mode(False), torch.no_grad():  # gradients by inputs may pass through it later
                self._kept = (state, self.log_weight_norm.exp() * self._direction())
        return self._kept[1]

    def train(self, mode: bool = True) -> WNConv2d:
        self._kept = None
        return super().train(mode)

    def forward(self, x: Tensor) -> Tensor:
        if self._initializing:
            return self._initialize(x)
        return self._conv_forward(x, self.normalized_weight(), self.bias)

    @torch.no_grad()
    def _initialize(self, x: Tensor) -> Tensor:
        out = self._conv_forward(x, self._direction(), None)
        scale = 5.0 * out.std((0, 2, 3)) + 1e-5
        self.log_weight_norm.copy_(-scale.log().view(-1, 1, 1, 1))
        if self.bias is not None:
            self.bias.copy_(-out.mean((0, 2, 3)) / scale)
        return self._conv_forward(x, self.normalized_weight(), self.bias)

    def __getstate__(self):
        return {**self.__dict__, "_kept": None}


@contextmanager
def data_dependent_init(module: nn.Module) -> Iterator[None]:
    """Within it a forward pass sets each convolution's norm and bias: outputs get mean 0 and deviation 1/5."""

    layers = [m for m in module.modules() if isinstance(m, WNConv2d)]
    for layer in layers:
        layer._initializing = True
    try:
        yield
    finally:
        for layer in layers:
            layer._initializing = False
