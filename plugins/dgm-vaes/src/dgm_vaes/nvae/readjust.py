"""Batch-norm statistics of sampling, which differ from those of reconstruction that training collects."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import nn

__all__ = ["Readjustment", "collect_statistics", "with_statistics"]

Statistics = list[tuple[torch.Tensor, torch.Tensor]]


def _layers(modules: list[nn.Module]) -> list[nn.BatchNorm2d]:
    return [layer for module in modules for layer in module.modules() if isinstance(layer, nn.BatchNorm2d)]


def _swap(layers: list[nn.BatchNorm2d], statistics: Statistics) -> Statistics:
    """Gives layers other statistics and returns what they had."""
    before = [(layer.running_mean, layer.running_var) for layer in layers]
    for layer, (mean, var) in zip(layers, statistics, strict=True):
        layer.running_mean, layer.running_var = mean, var
    return before


def collect_statistics(modules: list[nn.Module], draw: Callable[[int], None], passes: int) -> Statistics:
    """Returns the mean statistics of every batch norm in `modules` over `passes` calls of `draw(i)`."""

    layers = _layers(modules)
    before = _swap(layers, [(torch.zeros_like(x.running_mean), torch.ones_like(x.running_var)) for x in layers])
    kept = [(x.momentum, x.training, x.num_batches_tracked.clone()) for x in layers]
    try:
        for layer in layers:
            layer.momentum = None  # a cumulative average
            layer.num_batches_tracked.zero_()
            layer.training = True
        for i in range(passes):
            draw(i)
    finally:
        found = _swap(layers, before)
        for layer, (momentum, training, tracked) in zip(layers, kept, strict=True):
            layer.momentum, layer.training = momentum, training
            layer.num_batches_tracked.copy_(tracked)
    return found


@contextmanager
def with_statistics(modules: list[nn.Module], statistics: Statistics) -> Iterator[None]:
    """The batch norms of `modules` with other statistics, for a while."""

    layers = _layers(modules)
    before = _swap(layers, statistics)
    try:
        yield
    finally:
        _swap(layers, before)


class Readjustment:
    """Keeps the statistics of sampling for as long as they are asked for by the same key."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self._kept: tuple[Hashable, Statistics] | None = None

    @contextmanager
    def __call__(
        self, modules: list[nn.Module], draw: Callable[[int], None], passes: int, key: Hashable
    ) -> Iterator[None]:
        """The batch norms of `modules` with their statistics over `passes` calls of `draw(i)`, for a while."""

        if self._kept is None or self._kept[0] != key:
            self._kept = key, collect_statistics(modules, draw, passes)
        with with_statistics(modules, self._kept[1]):
            yield
