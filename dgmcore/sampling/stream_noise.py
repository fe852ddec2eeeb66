"""Noise from one stream for a whole batch: for training and for estimates, where batches are fixed."""

from __future__ import annotations

import hashlib

import torch
from torch import Tensor

from ..noise import Noise

__all__ = ["StreamNoise", "derive_seed"]


class StreamNoise(Noise):
    """Noise from one generator for the whole batch: fast, for training, where batches are fixed.

    The stream is a function of `(seed, scope)`; give each step and process a scope of its own and a
    run that is resumed at that step sees the same noise.
    """

    def __init__(
        self,
        seed: int,
        n: int,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        scope: str = "",
    ):
        self.seed, self.n, self.scope = int(seed), int(n), scope
        self.device, self.dtype = torch.device(device), dtype
        self.generator = torch.Generator().manual_seed(derive_seed(seed, scope))

    def child(self, name: str) -> StreamNoise:
        return StreamNoise(self.seed, self.n, device=self.device, dtype=self.dtype, scope=f"{self.scope}/{name}")

    def repeat(self, k: int) -> StreamNoise:
        return StreamNoise(self.seed, self.n * k, device=self.device, dtype=self.dtype, scope=f"{self.scope}*{k}")

    def with_n(self, n: int) -> StreamNoise:
        """Returns a view of the same stream for another batch size."""
        other = object.__new__(StreamNoise)
        other.__dict__.update(self.__dict__, n=n)
        return other

    def _draw(self, kind: str, shape: tuple[int, ...], name: str | None, dtype: torch.dtype | None = None) -> Tensor:
        generator = self.generator
        if name is not None:
            generator = torch.Generator().manual_seed(derive_seed(self.seed, f"{self.scope}:{name}:{kind}"))
        draw = torch.randn if kind == "normal" else torch.rand
        return draw(self.n, *shape, generator=generator, dtype=dtype or self.dtype).to(self.device)


def derive_seed(seed: int, scope: str) -> int:
    """Returns a 63-bit seed that is a function of a seed and a name."""
    digest = hashlib.blake2b(f"{seed}:{scope}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
