r"""Toy densities in the plane: endless, and exactly known.

A training step draws fresh points (`draw`); `take` reads a finite split, which is a function of the name
of the split alone, so that everybody tests on the same points.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgmcore.data.base import Dataset
from dgmcore.errors import DataError
from dgmcore.noise import IndexedNoise, Noise

__all__ = ["Toy", "gaussians", "gaussians9", "gaussians25", "moons", "swissroll"]

SIZES = {"train": 20_000, "validation": 20_000, "test": 100_000}


class Toy(Dataset):
    """A toy density.

    Arguments:
        name: Its name.
        split: `train`, `validation` or `test`: finite samples that are independent of each other.
        make: Maps noise to points `(n, 2)` and their labels `(n,)`.
    """

    event_shape = (2,)
    centres: Tensor | None = None  # of a Gaussian mixture: the modes `(k, 2)`, and their standard deviation
    scale: float | None = None

    def __init__(self, name: str, split: str, make: Callable[[Noise], tuple[Tensor, Tensor]]):
        if split not in SIZES:
            raise DataError(f"{name} has no split {split!r}", f"its splits: {', '.join(SIZES)}")
        self.name, self.split, self.make = name, split, make
        self._table: tuple[Tensor, Tensor] | None = None

    def __len__(self) -> int:
        return SIZES[self.split]

    def _points(self) -> tuple[Tensor, Tensor]:
        if self._table is None:
            x, labels = self.make(IndexedNoise(0, len(self), scope=f"{self.name}/{self.split}"))
            order = np.random.default_rng(0).permutation(len(self))  # so that any first few are like the whole
            self._table = x[order], labels[order]
        return self._table

    def take(self, index: np.ndarray) -> Tensor:
        return self._points()[0][torch.from_numpy(np.asarray(index))]

    def labels(self, index: np.ndarray) -> Tensor:
        return self._points()[1][torch.from_numpy(np.asarray(index))]

    def draw(self, noise: Noise) -> Tensor:
        return self.make(noise)[0]

    def drawn_labels(self, noise: Noise) -> Tensor:
        return self.make(noise)[1]


def moons(split: str = "train", root: str | os.PathLike[str] | None = None, *, noise: float = 0.05) -> Toy:
    """Two interleaved half circles, as scikit-learn's `make_moons`: points at equal distances, half on each."""

    return Toy("moons", split, partial(_moons, scale=_positive("noise", noise)))


def _moons(noise: Noise, scale: float) -> tuple[Tensor, Tensor]:
    outer = noise.n // 2
    inner = noise.n - outer
    here: Any = {"dtype": noise.dtype, "device": "cpu"}  # whatever a program's defaults are
    a, b = torch.linspace(0, math.pi, outer, **here), torch.linspace(0, math.pi, inner, **here)
    x = torch.cat([torch.stack([a.cos(), a.sin()], 1), torch.stack([1 - b.cos(), 0.5 - b.sin()], 1)])
    labels = torch.from_numpy(np.arange(noise.n) >= outer).long()
    step = noise.normal(2)
    return x.to(step.device).add(step, alpha=scale), labels


def swissroll(split: str = "train", root: str | os.PathLike[str] | None = None, *, noise: float = 1.0) -> Toy:
    """The plane of scikit-learn's `make_swiss_roll` (axes 0 and 2) divided by 5, as in FFJORD and OT-Flow.

    With `noise` 1 its entropy is 2.66 nats. The thesis's swiss roll (5.5.1) is another: its flow reaches -0.69 nats.
    """

    return Toy("swissroll", split, partial(_swissroll, scale=_positive("noise", noise)))


def _swissroll(noise: Noise, scale: float) -> tuple[Tensor, Tensor]:
    t = 1.5 * math.pi * (1 + 2 * noise.uniform())
    x = torch.stack([t * t.cos(), t * t.sin()], 1)
    return (x + scale * noise.normal(2)) / 5, torch.zeros(noise.n, dtype=torch.int64, device="cpu")


def gaussians(name: str, split: str, side: int, spacing: float, std: float) -> Toy:
    """A `side` by `side` grid of equally likely Gaussians, centred at 0."""

    toy = Toy(name, split, partial(_gaussians, side=side, spacing=spacing, std=_positive("std", std)))
    toy.centres, toy.scale = _grid(torch.from_numpy(np.arange(side * side)), side, torch.float32) * spacing, std
    return toy


def _gaussians(noise: Noise, side: int, spacing: float, std: float) -> tuple[Tensor, Tensor]:
    labels = noise.integers(side * side)
    return _grid(labels, side, noise.dtype) * spacing + std * noise.normal(2), labels


def _grid(labels: Tensor, side: int, dtype: torch.dtype) -> Tensor:
    return torch.stack([labels // side, labels % side], 1).to(dtype) - (side - 1) / 2


def gaussians25(split: str = "train", root: str | os.PathLike[str] | None = None, *, std: float = 0.0839) -> Toy:
    r"""Means :math:`\{-2, ..., 2\}^2`; with `std` 0.0839 its entropy is 1.10 nats."""

    return gaussians("25gaussians", split, 5, 1.0, std)


def gaussians9(
    split: str = "train", root: str | os.PathLike[str] | None = None, *, std: float = 0.16, spacing: float = 1.0
) -> Toy:
    r"""Means :math:`\{-1, 0, 1\}^2`; with `std` 0.16 its entropy is close to 1.37 nats.

    The grid of thesis 5.5.1, which states neither its deviation nor its entropy.
    """

    return gaussians("9gaussians", split, 3, spacing, std)


def _positive(key: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < math.inf:
        raise DataError(
            f"the option {key} of a toy data set must be a number of at least 0, not {value!r}", f"set {key}"
        )
    return float(value)
