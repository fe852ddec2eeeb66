r"""Reproducible noise.

Sample number `i` of seed `s` consumes the same bits whatever the batch size, the number of
samples asked for, and the number of processes that share the work: every value is a function
of `(seed, name of the draw, i)` alone. The function is the counter-based generator Philox4x64
[1], of which sample `i` owns the counters `[i w, (i + 1) w)`, followed by the Box-Muller
transform in float64, rounded to the dtype asked for.

References:
    [1] Parallel Random Numbers: As Easy as 1, 2, 3 (Salmon et al., 2011)
"""

from __future__ import annotations

import hashlib
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from functools import wraps
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import UsageError


class Noise(ABC):
    """The source of all randomness of `n` samples.

    Draws without a name are numbered in the order of the calls, so a sampler must make the same
    calls whatever values it meets. Draws with a name depend on the name alone.
    """

    n: int
    start: int = 0  # the number of the first sample; a stream has no numbers
    seed: int
    device: torch.device
    dtype: torch.dtype

    def normal(self, *shape: int, name: str | None = None) -> Tensor:
        """Returns standard normal noise, shape `(n, *shape)`."""
        return self._draw("normal", shape, name)

    def uniform(self, *shape: int, name: str | None = None) -> Tensor:
        """Returns uniform noise in [0, 1), shape `(n, *shape)`."""
        return self._draw("uniform", shape, name)

    def integers(self, high: int, *shape: int, name: str | None = None) -> Tensor:
        """Returns integers in [0, high), shape `(n, *shape)`, int64."""
        u = self._draw("uniform", shape, name, dtype=torch.float64)
        return (u * high).long().clamp_(max=high - 1)

    def named(self, shapes: Mapping[str, Any]) -> dict[str, Any]:
        """Returns a standard normal draw for each name of a (nested) mapping of shapes."""
        return {
            name: self.child(name).named(shape) if isinstance(shape, Mapping) else self.normal(*shape, name=name)
            for name, shape in shapes.items()
        }

    @abstractmethod
    def child(self, name: str) -> Noise:
        """Returns independent noise for the same samples, for a part or a stage called `name`."""

    @abstractmethod
    def repeat(self, k: int) -> Noise:
        """Returns noise for `n * k` samples: `k` for each of these, in the layout of `repeat_interleave`."""

    @abstractmethod
    def _draw(self, kind: str, shape: tuple[int, ...], name: str | None, dtype: torch.dtype | None = None) -> Tensor:
        """Draws; see :meth:`normal` and :meth:`uniform`."""


class IndexedNoise(Noise):
    """The noise of samples `start` to `start + n - 1` of a seed: the same bits in any batch.

    Example:
        >>> whole = IndexedNoise(seed=7, n=8).normal(3)
        >>> part = IndexedNoise(seed=7, start=5, n=2).normal(3)
        >>> torch.equal(whole[5:7], part)
        True
    """

    def __init__(
        self,
        seed: int,
        n: int,
        start: int = 0,
        *,
        device: torch.device | str = "cpu",
        dtype: torch.dtype = torch.float32,
        scope: str = "",
    ):
        self.seed, self.n, self.start = int(seed), int(n), int(start)
        self.device, self.dtype = torch.device(device), dtype
        self.scope = scope
        self.draws = 0

    @classmethod
    def like(cls, x: Tensor, seed: int = 0) -> IndexedNoise:
        """Returns the noise of as many samples as `x` has rows, on its device and of its dtype."""
        return cls(seed, len(x), device=x.device, dtype=x.dtype)

    def child(self, name: str) -> IndexedNoise:
        return self._like(self.n, self.start, f"{self.scope}/{name}")

    def repeat(self, k: int) -> IndexedNoise:
        return self._like(self.n * k, self.start * k, f"{self.scope}*{k}")

    def narrow(self, start: int, n: int) -> IndexedNoise:
        """Returns the noise of samples `start` to `start + n - 1` of these, from its first draw on."""
        return self._like(n, self.start + start, self.scope)

    def _like(self, n: int, start: int, scope: str) -> IndexedNoise:
        return IndexedNoise(self.seed, n, start, device=self.device, dtype=self.dtype, scope=scope)

    def _draw(self, kind: str, shape: tuple[int, ...], name: str | None, dtype: torch.dtype | None = None) -> Tensor:
        if name is None:
            name, self.draws = f"#{self.draws}", self.draws + 1
        key = hashlib.blake2b(f"{self.seed}:{self.scope}:{name}:{kind}".encode(), digest_size=16).digest()
        size = math.prod(shape)
        dtype, normal = dtype or self.dtype, kind == "normal"
        values = _philox(key, self.start, self.n, size, normal, single=normal and dtype is torch.float32)
        tensor = torch.from_numpy(values.reshape(self.n, *shape))
        if kind == "uniform" and dtype is not torch.float64:
            # rounding to nearest could give 1.0; cutting to 24 bits (8 for bfloat16) can't
            bits = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}[dtype]
            tensor = (tensor * 2**bits).floor_().mul_(2.0**-bits)
        return tensor.to(self.device, dtype)


def _philox(key: bytes, start: int, n: int, size: int, normal: bool, single: bool = False) -> np.ndarray:
    """Returns `(n, size)` values, float64 or rounded to float32, row i a function of the key and `start + i`."""
    half = (size + 1) // 2
    width = (2 * half if normal else size) + 3 & ~3  # Philox4x64 yields four words per counter
    values = np.empty((n, 2 * half if normal else size), np.float32 if single else np.float64)
    philox = np.random.Philox(key=int.from_bytes(key, "little"), counter=start * (width // 4))
    rows = max(1, (1 << 17) // max(width, 1))  # whose numbers stay near the processor
    for block in (values[first : first + rows] for first in range(0, n if size else 0, rows)):
        uniform = (philox.random_raw(len(block) * width).reshape(-1, width) >> np.uint64(11)) * 2.0**-53
        if not normal:
            block[...] = uniform[:, :size]
            continue
        # contiguous copies, so that numpy takes the same vectorised path for every n
        radius = uniform[:, :half] + 2.0**-53  # (0, 1]
        np.log(radius, out=radius)
        np.sqrt(radius * -2.0, out=radius)
        angle = uniform[:, half : 2 * half] * (2.0 * math.pi)
        _product(radius, angle, np.cos, block[:, :half])
        _product(radius, angle, np.sin, block[:, half:])
    return values[:, :size]


def _product(radius: np.ndarray, angle: np.ndarray, wave: np.ufunc, out: np.ndarray) -> None:
    """Writes `radius * wave(angle)`; for float32 by torch's wave, far faster, where numpy's would round to the same."""
    if out.dtype == np.float64:
        np.multiply(radius, wave(angle), out=out)
        return
    product = getattr(torch, wave.__name__)(torch.from_numpy(angle)).numpy()
    product *= radius
    out[...] = product
    # of 52 bits float32 keeps 23: is what it drops a half, or within eight units of the last place?
    dropped = product.view(np.int64) - ((1 << 28) - 8)
    dropped &= (1 << 29) - 1
    if (unsure := dropped <= 16).any():
        out[unsure] = radius[unsure] * wave(angle[unsure])


def takes_noise(sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Lets a model's `sample` say what draws so many, to whom gives it a number instead of noise."""

    @wraps(sample)
    def checked(self: Any, noise: Noise, *args: Any, **options: Any) -> Tensor:
        if not isinstance(noise, Noise):
            hint = f"dgmcore.sample(model, {noise!r:.20}) draws so many"
            raise UsageError(f"sample takes noise, not {noise!r:.40}", hint)
        return sample(self, noise, *args, **options)

    return checked
