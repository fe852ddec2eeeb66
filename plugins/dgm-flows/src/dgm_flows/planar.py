r"""Planar and radial flows: short maps of noise, made to bend posteriors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Depth, Size
from dgmcore.model import Model

from .flow import Flow

__all__ = ["Planar", "Radial"]


class ResidualFlow(Flow):
    r"""A chain :math:`g = f_K \circ \dots \circ f_1` of maps with few parameters each, from noise to data.

    As a posterior, :meth:`forward` takes the parameters of each datum's own chain, `(n, num_params)`, as an
    encoder outputs them, and returns the log-determinant with the result. As a model of its own it
    has one set of parameters; its density is exact, as every layer has an inverse that is a root of one
    increasing function of one variable.

    Arguments:
        config: `dim` and the number of `layers`.
    """

    class Config(Config):
        dim: Size = 2
        layers: Depth = 16

    example: ClassVar[Mapping[str, Any]] = {"layers": 3}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = (self.config.dim,)
        self.params = nn.Parameter(torch.empty(1, self.num_params).uniform_(-0.1, 0.1))
        # the whole chain follows a scaling and a shift, so that it need not do their work
        self.log_scale = nn.Parameter(torch.zeros(self.config.dim))
        self.shift = nn.Parameter(torch.zeros(self.config.dim))

    @property
    def num_params(self) -> int:
        """The number of parameters of one chain."""

        return self.config.layers * self._layer_params

    @property
    def _layer_params(self) -> int:
        raise NotImplementedError

    def layer(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        """Applies one layer; returns `(n, d)` and its log-determinant `(n,)`."""

        raise NotImplementedError

    def undo(self, y: Tensor, params: Tensor) -> Tensor:
        """Inverts one layer."""

        raise NotImplementedError

    def forward(self, z: Tensor, params: Tensor | None = None) -> tuple[Tensor, Tensor]:
        r"""Maps `z`, `(n, d)`, through the chain.

        Arguments:
            z: Noise, or a sample of a Gaussian posterior.
            params: The chain's parameters, `(n, num_params)`; None: the model's own.

        Returns:
            The result, `(n, d)`, and :math:`\log|\det|` of the map, `(n,)`.
        """

        ladj = z.new_zeros(z.shape[0])
        for p in self._chain(params):
            z, layer_ladj = self.layer(z, p)
            ladj = ladj + layer_ladj
        return z, ladj

    def _chain(self, params: Tensor | None) -> list[Tensor]:
        params = self.params if params is None else params
        return list(params.view(len(params), self.config.layers, -1).unbind(1))

    def decode(self, z: Tensor) -> Tensor:
        return self.shift + self.log_scale.exp() * self(z)[0]

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        z = (x - self.shift) * torch.exp(-self.log_scale)
        ladj = -self.log_scale.sum().expand(x.shape[0])
        for p in reversed(self._chain(None)):
            z = self.undo(z, p)
            ladj = ladj - self.layer(z, p)[1]
        return z, ladj

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Takes the first two moments of a batch."""

        self.shift.copy_(x.mean(0))
        self.log_scale.copy_(x.std(0).log())


class Planar(ResidualFlow):
    r"""Planar layers :math:`f(y) = y + \hat u \tanh(w^T y + b)` [1, eq. 10-12].

    :math:`\hat u` is `u` moved along `w` so that :math:`w^T \hat u > -1`, which makes the layer invertible.
    The inverse solves :math:`a + w^T \hat u \tanh(a + b) = w^T y` for the scalar `a` to machine precision.

    References:
        [1] Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015),
        https://arxiv.org/abs/1505.05770
    """

    @property
    def _layer_params(self) -> int:
        return 2 * self.config.dim + 1

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        d = self.config.dim
        u, w, b = params.split([d, d, 1], 1)
        product = (w * u).sum(1, keepdim=True)
        slope = F.softplus(product + math.log(math.e - 1)) - 1  # 0 at 0, always above -1
        u = u + (slope - product) * w / (w.square().sum(1, keepdim=True) + 1e-12)
        return u, w, b, (w * u).sum(1, keepdim=True)

    def layer(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        u, w, b, slope = self._split(params)
        h = torch.tanh((w * y).sum(1, keepdim=True) + b)
        return y + u * h, torch.log1p(slope * (1 - h.square())).squeeze(1)

    def undo(self, y: Tensor, params: Tensor) -> Tensor:
        u, w, b, slope = self._split(params)
        target = (w * y).sum(1, keepdim=True)
        with torch.no_grad():
            # |tanh| <= 1 encloses the root of an increasing function
            low, high = target - slope.abs(), target + slope.abs()
            for _ in range(60 if y.dtype == torch.float64 else 32):
                middle = (low + high) / 2
                above = middle + slope * torch.tanh(middle + b) > target
                low, high = torch.where(above, low, middle), torch.where(above, middle, high)
            root = (low + high) / 2
        # one Newton step: the last digits of the root, and its derivatives by the implicit function theorem
        h = torch.tanh(root + b)
        root = root - (root + slope * h - target) / (1 + slope * (1 - h.square())).detach()
        return y - u * torch.tanh(root + b)


class Radial(ResidualFlow):
    r"""Radial layers :math:`f(y) = y + \beta h (y - c)`, :math:`h = 1 / (\alpha + r)`, :math:`r = |y - c|` [1, eq. 14].

    :math:`\alpha > 0` and :math:`\beta > -\alpha` make the layer invertible; the inverse radius is the positive
    root of :math:`r^2 + (\alpha + \beta - r') r - \alpha r' = 0`.

    References:
        [1] Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015),
        https://arxiv.org/abs/1505.05770
    """

    @property
    def _layer_params(self) -> int:
        return self.config.dim + 2

    def _split(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        centre, raw_alpha, raw_beta = params.split([self.config.dim, 1, 1], 1)
        alpha = F.softplus(raw_alpha)
        # beta is 0 where its parameter is 0
        beta = alpha * (F.softplus(raw_beta + math.log(math.e - 1)) - 1)
        return centre, alpha, beta

    def layer(self, y: Tensor, params: Tensor) -> tuple[Tensor, Tensor]:
        centre, alpha, beta = self._split(params)
        offset = y - centre
        h = 1 / (alpha + _norm(offset))
        across = torch.log1p(beta * h) * (self.config.dim - 1)
        along = torch.log1p(beta * alpha * h.square())
        return y + beta * h * offset, (across + along).squeeze(1)

    def undo(self, y: Tensor, params: Tensor) -> Tensor:
        centre, alpha, beta = self._split(params)
        offset = y - centre
        length = _norm(offset)
        p, q = alpha + beta - length, alpha * length
        root = torch.sqrt(p.square() + 4 * q)
        # whichever form of the root has no cancellation
        radius = torch.where(p > 0, 2 * q / (root + p).clamp(min=1e-30), (root - p) / 2)
        return centre + offset / (1 + beta / (alpha + radius))


def _norm(x: Tensor) -> Tensor:
    """The Euclidean norm, `(n, d)` to `(n, 1)`, with a gradient at 0."""

    return torch.sqrt(x.square().sum(1, keepdim=True) + torch.finfo(x.dtype).tiny)
