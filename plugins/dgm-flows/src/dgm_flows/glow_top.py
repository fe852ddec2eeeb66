r"""A dense top for Glow: the coarsest level's features as one vector."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["DenseTop"]


class DenseTop(nn.Module):
    r"""Whitening, fixed at the initialisation, and affine couplings of all features.

    A convolution spreads what it knows by one pixel a layer; where images are aligned, the
    principal components of the coarsest features are the global shapes. `z = W (h - m)` has the components in
    descending order of variance; each coupling scales and shifts every second one by a network of the others, with
    a factor :math:`e^{\tanh(\cdot)}`.

    Arguments:
        dim: The number of features.
        steps: The number of couplings.
        hidden: The width of their networks.
    """

    def __init__(self, dim: int, steps: int, hidden: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("components", torch.eye(dim))  # rows: principal axes
        self.register_buffer("std", torch.ones(dim))
        self.couplings = nn.ModuleList(DenseCoupling(dim, i % 2, hidden) for i in range(steps))

    def encode(self, h: Tensor) -> tuple[Tensor, Tensor]:
        z = (h.flatten(1) - self.mean) @ self.components.T / self.std
        ladj = -self.std.log().sum()
        for coupling in self.couplings:
            z, log_scale = coupling.encode(z)
            ladj = ladj + log_scale.sum(1)
        return z.view_as(h), ladj

    def decode(self, z: Tensor) -> Tensor:
        h = z.flatten(1)
        for coupling in reversed(self.couplings):
            h = coupling.decode(h)
        return ((h * self.std) @ self.components + self.mean).view_as(z)

    def initialize(self, h: Tensor) -> None:
        h = h.flatten(1).double()
        centred = h - h.mean(0)
        variances, axes = torch.linalg.eigh(centred.T @ centred / len(h))
        # fewer data than features leave empty directions
        variances = variances.flip(0).clamp(min=1e-6 * variances.max().item() + 1e-12)
        self.mean.copy_(h.mean(0))
        self.components.copy_(axes.T.flip(0))
        self.std.copy_(variances.sqrt())


class DenseCoupling(nn.Module):
    """Scales and shifts the features of one parity by a network of the others."""

    def __init__(self, dim: int, parity: int, hidden: int):
        super().__init__()
        self.kept, self.free = slice(parity, None, 2), slice(1 - parity, None, 2)
        kept, free = len(range(dim)[self.kept]), len(range(dim)[self.free])
        self.net = nn.Sequential(nn.Linear(kept, hidden), nn.SiLU(), nn.Linear(hidden, hidden), nn.SiLU())
        self.leave = nn.Linear(hidden, 2 * free)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def affine(self, kept: Tensor) -> tuple[Tensor, Tensor]:
        shift, raw = self.leave(self.net(kept)).chunk(2, 1)
        return shift, torch.tanh(raw)

    def encode(self, z: Tensor) -> tuple[Tensor, Tensor]:
        shift, log_scale = self.affine(z[:, self.kept])
        return self._merge(z, (z[:, self.free] + shift) * log_scale.exp()), log_scale

    def decode(self, y: Tensor) -> Tensor:
        shift, log_scale = self.affine(y[:, self.kept])
        return self._merge(y, y[:, self.free] * torch.exp(-log_scale) - shift)

    def _merge(self, z: Tensor, free: Tensor) -> Tensor:
        if z.shape[1] % 2:  # interleaving needs equal halves
            even, odd = (free, z[:, self.kept]) if self.free.start == 0 else (z[:, self.kept], free)
            return torch.stack([even, F.pad(odd, (0, 1))], 2).flatten(1)[:, :-1]
        pair = (free, z[:, self.kept]) if self.free.start == 0 else (z[:, self.kept], free)
        return torch.stack(pair, 2).flatten(1)
