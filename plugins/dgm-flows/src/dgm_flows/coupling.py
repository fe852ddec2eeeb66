r"""Glow's step for vectors: invertible linear maps and affine couplings."""

from __future__ import annotations

from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from dgmcore.config import Config, Depth, Size
from dgmcore.model import Model

from .flow import Dim, Flow, blockwise

__all__ = ["CouplingFlow"]


class CouplingFlow(Flow):
    r"""A flow of vectors in `blocks` steps, each a linear map and an affine coupling [1, 2].

    From data to noise, a step computes :math:`h = W x + b` with a learned
    :math:`W = P L (U + \mathrm{diag}(\pm e^{d}))`, and then with the first half of the entries, :math:`h_a`,

    .. math:: h_b \to (h_b + t(h_a)) \exp(s(h_a)), \qquad |s| < 2 .

    :math:`(t, s)` is a network of three dense layers, which starts at zero. Before training :meth:`initialize`
    whitens the data by the first map; the others start as rotations.

    Arguments:
        config: `dim`, the number of `blocks`, and the width `hidden` of the networks: 4 and 64 as for the codes of
            MNIST and Fashion-MNIST in thesis 3.4, whose flow has couplings alone, without linear maps.

    References:
        [1] Density estimation using Real NVP (Dinh et al., 2016), https://arxiv.org/abs/1605.08803
        [2] Glow: Generative Flow with Invertible 1x1 Convolutions (Kingma & Dhariwal, 2018),
        https://arxiv.org/abs/1807.03039

    Example:
        >>> flow = CouplingFlow({"dim": 5, "blocks": 2, "hidden": 8})
        >>> x = torch.randn(3, 5)
        >>> torch.allclose(flow.decode(flow.encode(x)), x, atol=1e-5)
        True
    """

    class Config(Config):
        dim: Dim = 2
        blocks: Depth = 4
        hidden: Size = 64

    example: ClassVar[Any] = {"blocks": 2, "hidden": 8}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        self.event_shape = (c.dim,)
        self.blocks = nn.ModuleList(Block(c.dim, c.hidden) for _ in range(c.blocks))

    @torch.no_grad()
    def initialize(self, x: Tensor) -> None:
        """Whitens `x`, `(n, dim)`, by the first linear map."""

        x = x.double()
        mean = x.mean(0)
        variances, axes = torch.linalg.eigh((x - mean).T @ (x - mean) / len(x))
        # fewer data than entries leave empty directions
        scale = variances.clamp(min=1e-6 * variances.max().item() + 1e-12).rsqrt()
        whitening = scale[:, None] * axes.T
        self.blocks[0].linear.assign(whitening, -whitening @ mean)

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return blockwise(self._transform, x)

    def _transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        ladj = x.new_zeros(x.shape[0])
        for block in self.blocks:
            x, step = block.encode(x)
            ladj = ladj + step
        return x, ladj

    def decode(self, z: Tensor) -> Tensor:
        return blockwise(self._decode, z)[0]

    def _decode(self, z: Tensor) -> tuple[Tensor]:
        for block in reversed(self.blocks):
            z = block.decode(z)
        return (z,)


class Block(nn.Module):
    """A linear map, then an affine coupling of its result's halves."""

    def __init__(self, dim: int, hidden: int):
        super().__init__()
        self.sizes = (dim // 2, dim - dim // 2)
        self.linear = LinearLU(dim)
        leave = nn.Linear(hidden, 2 * self.sizes[1])
        nn.init.zeros_(leave.weight)
        nn.init.zeros_(leave.bias)
        self.network = nn.Sequential(
            nn.Linear(self.sizes[0], hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU(), leave
        )

    def affine(self, a: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.network(a).chunk(2, 1)
        return shift, 2 * torch.tanh(raw / 2)

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        h, ladj = self.linear.encode(x)
        a, b = h.split(self.sizes, 1)
        shift, log_scale = self.affine(a)
        return torch.cat([a, (b + shift) * log_scale.exp()], 1), ladj + log_scale.sum(1)

    def decode(self, h: Tensor) -> Tensor:
        a, b = h.split(self.sizes, 1)
        shift, log_scale = self.affine(a)
        return self.linear.decode(torch.cat([a, b * torch.exp(-log_scale) - shift], 1))


class LinearLU(nn.Module):
    r"""The map :math:`x \to P L (U + \mathrm{diag}(\pm e^{d})) x + b`, which starts as a random rotation."""

    def __init__(self, dim: int):
        super().__init__()
        self.register_buffer("permutation", torch.eye(dim))
        self.register_buffer("sign", torch.ones(dim))
        self.lower = nn.Parameter(torch.zeros(dim, dim))
        self.upper = nn.Parameter(torch.zeros(dim, dim))
        self.log_diagonal = nn.Parameter(torch.zeros(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.assign(torch.linalg.qr(torch.randn(dim, dim, dtype=torch.float64))[0], torch.zeros(dim))

    @torch.no_grad()
    def assign(self, weight: Tensor, bias: Tensor) -> None:
        r"""Makes it :math:`x \to` `weight` :math:`x +` `bias`."""

        permutation, lower, upper = torch.linalg.lu(weight)
        diagonal = upper.diagonal()
        self.permutation.copy_(permutation)
        self.sign.copy_(diagonal.sign())
        self.lower.copy_(lower.tril(-1))
        self.upper.copy_(upper.triu(1))
        self.log_diagonal.copy_(diagonal.abs().log())
        self.bias.copy_(bias)

    def factors(self) -> tuple[Tensor, Tensor]:
        lower = self.lower.tril(-1) + torch.diag(self.sign.abs())
        return lower, self.upper.triu(1) + torch.diag(self.sign * self.log_diagonal.exp())

    def encode(self, x: Tensor) -> tuple[Tensor, Tensor]:
        lower, upper = self.factors()
        return torch.addmm(self.bias, x, (self.permutation @ lower @ upper).T), self.log_diagonal.sum()

    def decode(self, y: Tensor) -> Tensor:
        lower, upper = self.factors()
        h = (y - self.bias) @ self.permutation  # the inverse of P is its transpose
        h = torch.linalg.solve_triangular(lower.T, h, upper=True, left=False, unitriangular=True)
        return torch.linalg.solve_triangular(upper.T, h, upper=False, left=False)
