r"""Real NVP as Ruthotto and Haber publish it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Depth, Size
from dgmcore.model import Model
from dgmcore.noise import Noise

from .flow import Dim, Flow, blockwise

__all__ = ["RealNVP"]


class RealNVP(Flow):
    r"""Affine couplings :math:`g = f_K \circ \dots \circ f_1` [1, eq. 9-12], [2].

    Layer `k` keeps the coordinates :math:`i \equiv k \pmod 2` (counted from 0) and maps the others by

    .. math:: f_k(y)_i = y_i \exp(s_k(m_k y)_i) + t_k(m_k y)_i .

    :math:`s_k` and :math:`t_k` are networks :math:`d \to H \to H \to d` with leaky ReLUs (slope 0.01)
    and a final tanh. All 2 K of them are stored stacked, `(K, 2, out, in)`, and the two of a layer
    run as one batched matrix product, over the kept inputs and the free outputs only: the rest meets
    a mask. The log-determinant sums :math:`s_k` over the free coordinates, so densities
    integrate to one (the authors' code sums over all).

    Arguments:
        config: `dim` (d), `layers` (K) and `hidden` (H).

    References:
        [1] An Introduction to Deep Generative Modeling (Ruthotto & Haber, 2021), section 3.2,
        https://arxiv.org/abs/2103.05180
        [2] Density estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803
    """

    class Config(Config):
        dim: Dim = 2
        layers: Depth = 6
        hidden: Size = 128

    example: ClassVar[Mapping[str, Any]] = {"layers": 3, "hidden": 8}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        d, K, H = self.config.dim, self.config.layers, self.config.hidden
        self.event_shape = (d,)
        for name, outputs, inputs in (("first", H, d), ("second", H, H), ("third", d, H)):
            # nn.Linear's own initialisation
            bound = 1 / math.sqrt(inputs)
            weight = nn.init.uniform_(torch.empty(K, 2, outputs, inputs), -bound, bound)
            bias = nn.init.uniform_(torch.empty(K, 2, 1, outputs), -bound, bound)
            self.register_parameter(f"{name}_weight", nn.Parameter(weight))
            self.register_parameter(f"{name}_bias", nn.Parameter(bias))

    def couplings(self) -> list[_Coupling]:
        """Returns the layers in the order of `g`."""

        # unbind, not indexing: its backward stacks all layers' gradients once
        tensors = (
            self.first_weight,
            self.first_bias,
            self.second_weight,
            self.second_bias,
            self.third_weight,
            self.third_bias,
        )
        return [_Coupling(k % 2, *layer) for k, layer in enumerate(zip(*(t.unbind(0) for t in tensors), strict=True))]

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return blockwise(self._transform, x)

    def _transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ladj = 0.0
        for coupling in reversed(self.couplings()):
            x, s = coupling.inverse(x)
            ladj = ladj - s.sum(1)
        return x, ladj

    def decode(self, z: Tensor) -> Tensor:
        return blockwise(self._decode, z)[0]

    def _decode(self, z: Tensor) -> tuple[Tensor]:
        for coupling in self.couplings():
            z = coupling(z)
        return (z,)

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the noise and the state after each layer."""

        self.sampling(options)
        x = noise.named(self.noise_shapes)["z"]
        yield x
        for coupling in self.couplings():
            x = coupling(x)
            yield x


class _Coupling:
    """One layer, over views of the stacked weights."""

    def __init__(self, parity: int, w1: Tensor, b1: Tensor, w2: Tensor, b2: Tensor, w3: Tensor, b3: Tensor):
        self.kept, self.free = slice(parity, None, 2), slice(1 - parity, None, 2)
        self.parity = parity
        self.layers = (w1[:, :, self.kept], b1), (w2, b2), (w3[:, self.free], b3[:, :, self.free])

    def nets(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `s` and `t` of the free coordinates."""

        (w1, b1), (w2, b2), (w3, b3) = self.layers
        if torch.is_grad_enabled():  # both at once: fewer operations to go back through
            h = torch.baddbmm(b1, kept.expand(2, *kept.shape), w1.mT)
            h = torch.baddbmm(b2, F.leaky_relu_(h, 0.01), w2.mT)
            return torch.baddbmm(b3, F.leaky_relu_(h, 0.01), w3.mT).tanh().unbind(0)

        def net(j: int) -> Tensor:  # one after the other is faster for many points
            h = F.linear(kept, w1[j], b1[j, 0])
            h = F.linear(F.leaky_relu_(h, 0.01), w2[j], b2[j, 0])
            return F.linear(F.leaky_relu_(h, 0.01), w3[j], b3[j, 0]).tanh_()

        return net(0), net(1)

    def __call__(self, y: Tensor) -> Tensor:
        s, t = self.nets(y[:, self.kept])
        return self.merge(y, torch.addcmul(t, y[:, self.free], s.exp()))

    def inverse(self, y: Tensor) -> tuple[Tensor, Tensor]:
        s, t = self.nets(y[:, self.kept])
        return self.merge(y, (y[:, self.free] - t) * torch.exp(-s)), s

    def merge(self, y: Tensor, free: Tensor) -> Tensor:
        """Returns `y` with its free coordinates replaced."""

        if y.shape[1] == 2:
            kept = y[:, self.kept]
            return torch.cat([free, kept] if self.parity else [kept, free], 1)
        out = y.clone()
        out[:, self.free] = free
        return out
