r"""Reproducible noise.

Sample number `i` of seed `s` consumes the same bits whatever the batch size, the number of
samples asked for, and the number of processes that share the work: every value is a function
of `(seed, name of the draw, i)` alone. The function is the counter-based generator Philox4x64
[1], of which sample `i` owns the counters `[i w, (i + 1) w)`, followed by the Box-Muller
transform. Of that there are two versions; which one draws for a model is in its entry:

1. in float64, two numbers of two words, rounded to the dtype asked for;
2. in float32, two numbers of one word, by nothing but operations that IEEE 754 rounds correctly,
   each on its own: the same bits on every CPU. Other dtypes are these numbers, rounded or
   widened: a model sees one noise in float64 and in float32, which is what comparing them needs.

Uniform noise and integers are the same in both. On a GPU the words are computed there, to the
bit, and normal noise differs from the CPU's by at most 1e-6.

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

#: Where the words are computed: what has float64 and int64, and was tried. Elsewhere the CPU draws.
DRAWN_THERE = {"cuda", "xpu"}
_BLOCK = (1 << 17, 1 << 17, 1 << 15)  # words computed at once, by version: they stay near the processor


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
        version: int = 1,
    ):
        self.seed, self.n, self.start = int(seed), int(n), int(start)
        self.device, self.dtype = torch.device(device), dtype
        self.scope, self.version = scope, version
        self.draws = 0

    @classmethod
    def of(cls, model: Any, seed: int, n: int, start: int = 0) -> IndexedNoise:
        """Returns the noise that a model draws by: on its device, of its dtype, of its version."""
        return cls(seed, n, start, device=model.device, dtype=model.dtype, version=model.noise_version)

    @classmethod
    def like(cls, x: Tensor, seed: int = 0, version: int = 1) -> IndexedNoise:
        """Returns the noise of as many samples as `x` has rows, on its device and of its dtype."""
        return cls(seed, len(x), device=x.device, dtype=x.dtype, version=version)

    def child(self, name: str) -> IndexedNoise:
        return self._like(self.n, self.start, f"{self.scope}/{name}")

    def repeat(self, k: int) -> IndexedNoise:
        return self._like(self.n * k, self.start * k, f"{self.scope}*{k}")

    def narrow(self, start: int, n: int) -> IndexedNoise:
        """Returns the noise of samples `start` to `start + n - 1` of these, from its first draw on."""
        return self._like(n, self.start + start, self.scope)

    def _like(self, n: int, start: int, scope: str) -> IndexedNoise:
        like: dict[str, Any] = {"device": self.device, "dtype": self.dtype, "version": self.version}
        return IndexedNoise(self.seed, n, start, scope=scope, **like)

    def _draw(self, kind: str, shape: tuple[int, ...], name: str | None, dtype: torch.dtype | None = None) -> Tensor:
        if name is None:
            name, self.draws = f"#{self.draws}", self.draws + 1
        key = hashlib.blake2b(f"{self.seed}:{self.scope}:{name}:{kind}".encode(), digest_size=16).digest()
        dtype, version = dtype or self.dtype, self.version if kind == "normal" else 0
        single = version == 2 or (version == 1 and dtype is torch.float32)
        whose = key, self.start, self.n, math.prod(shape), version
        tensor = _values(self.device, *whose, single).reshape(self.n, *shape)
        if kind == "uniform" and dtype is not torch.float64:
            # rounding to nearest could give 1.0; cutting to 24 bits (8 for bfloat16) can't
            bits = {torch.float32: 24, torch.float16: 11, torch.bfloat16: 8}[dtype]
            tensor = (tensor * 2**bits).floor_().mul_(2.0**-bits)
        return tensor.to(self.device, dtype)


def _values(device: torch.device, key: bytes, start: int, n: int, size: int, version: int, single: bool) -> Tensor:
    """Returns `(n, size)` normal numbers of a version, or (0) uniform ones; row i is of the key and `start + i`."""
    half = (size + 1) // 2
    width = (size, 2 * half, half)[version] + 3 & ~3  # of a row's words: Philox4x64 yields four per counter
    start, columns = start * (width // 4), 2 * half if version else size
    if device.type in DRAWN_THERE:
        there = torch.empty(n, columns, dtype=torch.float32 if single else torch.float64, device=device)
        _fill(torch, _words(device, key, start, n * width // 4).view(n, width), there, version, max(1, half))
        return there[:, :size]
    values = np.empty((n, columns), np.float32 if single else np.float64)
    philox = np.random.Philox(key=int.from_bytes(key, "little"), counter=start)
    rows = max(1, _BLOCK[version] // max(width, 1))
    for block in (values[first : first + rows] for first in range(0, n if size else 0, rows)):
        words = philox.random_raw(len(block) * width).reshape(-1, width).astype("<u8", copy=False)
        _fill(np, words, block, version, max(1, _BLOCK[version] // len(block)))
    return torch.from_numpy(values)[:, :size]


def _fill(lib: Any, words: Any, out: Any, version: int, step: int) -> None:
    """Writes numbers made of words of 64 bits, arrays of numpy or of torch, as `lib` says, so many columns at once."""
    half = out.shape[1] // 2
    if version == 2:
        ints = words.view(lib.int32)
        for a, b in ((a, min(a + step, half)) for a in range(0, half, step)):
            out[:, a:b], out[:, half + a : half + b] = _box_muller(lib, ints[:, a:b], ints[:, half + a : half + b])
        return
    uniform = lib.asarray(words >> 11 & (1 << 53) - 1, dtype=lib.float64) * 2.0**-53
    if version == 0:
        out[...] = uniform[:, : out.shape[1]]
        return
    # contiguous copies, so that numpy takes the same vectorised path for every n
    radius = uniform[:, :half] + 2.0**-53  # (0, 1]
    lib.log(radius, out=radius)
    radius *= -2.0
    lib.sqrt(radius, out=radius)
    angle = uniform[:, half : 2 * half] * (2.0 * math.pi)
    for wave, part in ((lib.cos, out[:, :half]), (lib.sin, out[:, half:])):
        if lib is np and out.dtype == np.float32:
            _product(radius, angle, wave, part)
        else:
            part[...] = radius * wave(angle)


def _product(radius: np.ndarray, angle: np.ndarray, wave: np.ufunc, out: np.ndarray) -> None:
    """Writes `radius * wave(angle)` by torch's wave, far faster, where numpy's would round to the same float32."""
    product = getattr(torch, wave.__name__)(torch.from_numpy(angle)).numpy()
    product *= radius
    out[...] = product
    # of 52 bits float32 keeps 23: is what it drops a half, or within eight units of the last place?
    dropped = product.view(np.int64) - ((1 << 28) - 8)
    dropped &= (1 << 29) - 1
    if (unsure := dropped <= 16).any():
        out[unsure] = radius[unsure] * wave(angle[unsure])


#: Polynomials in x^2: sin(x pi/2) / x, cos(x pi/2) / (1 - x^2), and, of s = (m - 1) / (m + 1), -2 log(m) / s.
_SIN = (1.5707963705062866, -0.6459637880325317, 0.07968991994857788, -0.004674150608479977, 0.0001516751217423007)
_COS = (1.0, -0.23370049893856049, 0.019968606531620026, -0.0008935363148339093, 2.3601098291692324e-05)
_LOG = (-4.0, -1.333336353302002, -0.799496054649353, -0.5985090732574463)
_ROOT = 0x3F3504F3  # the bits of sqrt(1/2)


def _box_muller(lib: Any, radius: Any, angle: Any) -> tuple[Any, Any]:
    """Returns two arrays of normal numbers, float32, of two of int32: version 2."""
    m = lib.asarray(radius | 1, dtype=lib.float32)  # odd, so never zero; its sign is the radius's
    bits = m.view(lib.int32)
    sign = bits & -(1 << 31)
    bits &= 0x7FFFFFFF
    bits -= _ROOT + (31 << 23)
    exponent = lib.asarray(bits >> 23, dtype=lib.float32)
    bits &= 0x7FFFFF
    bits += _ROOT
    s = m - 1  # m in [sqrt(1/2), sqrt(2)), and |radius| = 2^31 m 2^exponent
    m += 1
    s /= m
    r = _polynomial(_LOG, s * s)
    r *= s
    exponent *= -2 * math.log(2)
    r += exponent
    lib.sqrt(r, out=r)
    bits = r.view(lib.int32)
    bits |= sign
    x = lib.asarray(angle, dtype=lib.float32) * 2.0**-31  # in [-1, 1]: half a turn, the sign is for the other half
    square = x * x
    x *= r
    r *= 1 - square
    return r * _polynomial(_COS, square), x * _polynomial(_SIN, square)


def _polynomial(c: tuple[float, ...], x: Any) -> Any:
    y = x * c[-1]
    for k in c[-2:0:-1]:
        y += k
        y *= x
    y += c[0]
    return y


def _words(device: torch.device, key: bytes, start: int, n: int) -> Tensor:
    """Returns the words of Philox4x64 (ten rounds) of `n` counters after `start`, as numpy has them; `(n, 4)` int64."""
    low = (1 << 32) - 1

    def signed(word: int) -> int:
        return (word + (1 << 63)) % (1 << 64) - (1 << 63)

    def product(factor: int, x: Tensor) -> tuple[Tensor, Tensor]:  # its high and its low word; int64 wraps around
        a, b, c, d = factor >> 32, factor & low, x >> 32 & low, x & low
        middle = a * d + (b * d >> 32 & low)
        return a * c + (middle >> 32 & low) + (b * c + (middle & low) >> 32 & low), x * signed(factor)

    keys = [int.from_bytes(key[:8], "little"), int.from_bytes(key[8:], "little")]
    first = torch.arange(n, device=device) + signed(start + 1)
    x = [first, torch.full_like(first, signed(start + 1 >> 64)), *torch.zeros(2, n, dtype=torch.int64, device=device)]
    for _ in range(10):
        (high, even), (top, odd) = product(0xD2E7470EE14C6C93, x[0]), product(0xCA5A826395121157, x[2])
        x = [top ^ x[1] ^ signed(keys[0]), odd, high ^ x[3] ^ signed(keys[1]), even]
        keys = [keys[0] + 0x9E3779B97F4A7C15, keys[1] + 0xBB67AE8584CAA73B]
    return torch.stack(x, 1)


def takes_noise(sample: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Lets a model's `sample` say what draws so many, to whom gives it a number instead of noise."""

    @wraps(sample)
    def checked(self: Any, noise: Noise, *args: Any, **options: Any) -> Tensor:
        if not isinstance(noise, Noise):
            hint = f"dgmcore.sample(model, {noise!r:.20}) draws so many"
            raise UsageError(f"sample takes noise, not {noise!r:.40}", hint)
        return sample(self, noise, *args, **options)

    return checked
