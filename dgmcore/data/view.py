"""A data set as a recipe wants it: another range and size, some of it."""

from __future__ import annotations

import builtins

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from ..errors import DataError
from ..noise import IndexedNoise, Noise
from .base import Dataset
from .images import Images, to_range
from .spec import DataSpec

__all__ = ["View", "dequantize"]


def dequantize(x: Tensor, noise: Noise, range: tuple[float, float], levels: int) -> Tensor:
    r"""Returns :math:`x + (u - 1/2) \delta` with :math:`u \sim U[0, 1)` and :math:`\delta` the distance of two levels.

    The interval of each level is centred on it, so rounding is the inverse. The density of the levels is that of
    the result times :math:`\delta` for each dimension.
    """
    step = (range[1] - range[0]) / (levels - 1)
    return x + (noise.uniform(*x.shape[1:]) - 0.5) * step


class View(Dataset):
    """A data set carried to a range and a size.

    Arguments:
        base: The data set.
        spec: The range, size, and limit wanted.
    """

    def __init__(self, base: Dataset, spec: DataSpec):
        self.base, self.spec, self.name = base, spec, base.name
        self.range = spec.range if spec.range is not None else base.range
        self.levels = spec.levels or base.levels
        self._check_values()
        self.event_shape = self._shape()

    def _check_values(self) -> None:
        """Checks the range and the levels."""
        base, spec = self.base, self.spec
        if self.range is not None and not self.range[0] < self.range[1]:
            raise DataError(f"{base.name}: the range {list(self.range)} is empty", "set data.range to [low, high]")
        if base.range is None and spec.range is not None:
            _check_within(base, spec.range)
        if not isinstance(base, Images) and spec.levels and self.range is None:
            raise DataError(f"{base.name}: levels need a range", "set data.range to that of the values")
        if spec.dequantize and (self.levels is None or self.range is None):
            raise DataError(f"{base.name}: data without levels can't be dequantised", "set levels, or leave it out")

    def _shape(self) -> tuple[int, ...]:
        """Returns the shape of a datum, after it is cut, resized and padded."""
        name, spec, shape = self.name, self.spec, tuple(self.base.event_shape)
        for key in ("resize", "pad", "limit"):
            value = getattr(spec, key)
            if value is not None and value < 1:
                raise DataError(f"{name}: data.{key} must be at least 1, not {value}", f"correct data.{key}")
        if not (spec.resize or spec.pad or spec.flip or spec.crop):
            return shape
        if len(shape) != 3:
            raise DataError(f"{name}: only images can be cut, resized, padded or flipped", "drop those keys of data")
        channels, height, width = shape
        if spec.crop:
            height = width = min(height, width)
        if spec.resize:
            if height != width:
                raise DataError(
                    f"{name}: resizing images of {width} x {height} to a square would squash them",
                    "set data.crop: true, which cuts them to squares first",
                )
            height = width = spec.resize
        if spec.pad:
            if spec.pad < max(height, width):
                raise DataError(
                    f"{name}: images of {(height, width)} can't be padded to {spec.pad}", "set a larger data.pad"
                )
            height = width = spec.pad
        return channels, height, width

    def __len__(self) -> int:
        return min(len(self.base), self.spec.limit or len(self.base))

    def take(self, index: np.ndarray) -> Tensor:
        if isinstance(self.base, Images):
            return to_range(self._frame(self.base.raw(index), 0), self.range or self.base.range)
        return self._carry(self.base.take(index))

    def _carry(self, x: Tensor) -> Tensor:
        old, new = self.base.range, self.range
        if old is not None and new is not None and old != new:
            x = (x - old[0]) * ((new[1] - new[0]) / (old[1] - old[0])) + new[0]
        return self._frame(x, new[0] if new else 0.0)

    def _frame(self, x: Tensor, border: float) -> Tensor:
        """Cuts, resizes and pads a batch of images; others stay as they are."""
        x = _crop(x) if self.spec.crop else x
        return _pad(_resize(x, self.spec.resize), self.spec.pad, border)

    def labels(self, index: np.ndarray) -> Tensor | None:
        return self.base.labels(index)

    def draw(self, noise: Noise) -> Tensor | None:
        x = None if self.spec.limit else self.base.draw(noise)
        return None if x is None else self._carry(x)

    def drawn_labels(self, noise: Noise) -> Tensor | None:
        return self.base.drawn_labels(noise)


def _crop(x: Tensor) -> Tensor:
    """Cuts squares from the middle of images."""
    height, width = x.shape[-2:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return x[..., top : top + side, left : left + side]


def _resize(x: Tensor, size: int | None) -> Tensor:
    if not size or tuple(x.shape[-2:]) == (size, size):
        return x
    return F.interpolate(x, (size, size), mode="bilinear", antialias=True, align_corners=False)


def _pad(x: Tensor, size: int | None, value: float) -> Tensor:
    if not size:
        return x
    rows, columns = size - x.shape[-2], size - x.shape[-1]
    return F.pad(x, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2), value=value)


def _check_within(base: Dataset, range: tuple[float, float]) -> None:
    """Data that come without a range must be in the one that is claimed for them."""
    if base.draw(IndexedNoise(0, 1)) is not None:
        hint = "give data in it, or drop data.range"
        raise DataError(f"{base.name} is unbounded, so it can't be carried to {list(range)}", hint)
    for start in builtins.range(0, len(base), 4096):
        x = base.take(np.arange(start, min(start + 4096, len(base))))
        if x.min() < range[0] or x.max() > range[1]:
            hint = "give data in it, or correct data.range"
            raise DataError(f"{base.name} has values outside of {list(range)}", hint)
