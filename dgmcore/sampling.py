r"""Drawing samples: batch by batch, each sample a function of `(model, seed, its number)` alone.

Batches are cut at multiples of the batch size, counted from sample 0, and processes share whole batches, so that a
run with several processes makes the very batches of a run with one.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from .errors import UsageError
from .noise import IndexedNoise

if TYPE_CHECKING:
    from pathlib import Path

    from .model import Model

__all__ = ["batches", "default_batch_size", "in_range", "model_range", "sample", "stream"]


def default_batch_size(model: Model) -> int:
    """Returns a batch size that bounds the memory: fewer of what is larger, more on a GPU."""

    numbers = 2**18 if model.device.type == "cpu" else 2**21
    return max(1, min(2**13, numbers // math.prod(model.event_shape)))


def batches(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yields `(first, length)` of the batches of `start` to `stop - 1`, cut at the multiples of `size`."""

    while start < stop:
        end = min(stop, (start // size + 1) * size)
        yield start, end - start
        start = end


def model_range(model: Model) -> tuple[float, float] | None:
    """Returns the range of the model's data, or None if they are unbounded."""

    return model.entry.data.range if model.entry is not None else model.data_range


def in_range(x: Tensor, model: Model) -> Tensor:
    """Returns `x` cut to the range of the model's data: a flow may overshoot the values that a pixel can have."""

    limits = model_range(model)
    return x if limits is None else x.clamp(*limits)


def stream(
    model: Model,
    n: int,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    start: int = 0,
    **options: Any,
) -> Iterator[Tensor]:
    """Yields samples `start` to `start + n - 1` of a seed in batches, each `(b, *event_shape)`.

    Sample `i` has the same noise whatever `n`, `start` and `batch_size`. The samples are on the model's device, of its
    dtype, and in the range of its data. The global random state is neither used nor changed.

    Arguments:
        model: A generator, in eval mode.
        n: How many samples.
        seed: The seed.
        batch_size: The number of samples drawn at once; None chooses by their size.
        start: The number of the first sample.
        options: Sampling options of the model.

    Raises:
        UsageError: If the model can't be sampled, or a number is out of range.
        OptionError: For an unknown option.

    Example:
        >>> mean = sum(x.sum(0) for x in stream(model, 100_000)) / 100_000  # doctest: +SKIP
    """

    if not model.can("generator"):
        raise UsageError(
            f"{_name(model)} can't be sampled: {type(model).__name__} is no generator",
            f"it can: {', '.join(model.capabilities) or 'nothing'}",
        )
    if n < 0 or start < 0:
        raise UsageError(f"can't draw {n} samples from number {start} on", "give numbers of at least 0")
    if batch_size is not None and batch_size < 1:
        raise UsageError(f"batch size {batch_size} is too small", "give a batch size of at least 1")
    model.sampling(options)  # a wrong option fails here, before the first batch is asked for
    return _stream(model, n, seed, batch_size or default_batch_size(model), start, options)


def _stream(model: Model, n: int, seed: int, size: int, start: int, options: dict[str, Any]) -> Iterator[Tensor]:
    for first, length in batches(start, start + n, size):
        noise = IndexedNoise(seed, length, first, device=model.device, dtype=model.dtype)
        # not inference mode: Langevin dynamics and continuous flows take gradients inside
        with torch.no_grad():
            x = in_range(model.sample(noise, **options), model)
        yield x


def sample(
    model: Model | str | Path,
    n: int = 16,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    **options: Any,
) -> Tensor:
    """Returns `n` samples, `(n, *event_shape)`; see :func:`stream`.

    Arguments:
        model: A model, or a name that :func:`dgmcore.load` accepts.
        n: How many samples.
        seed: The seed; sample `i` of a seed is the same for every `n` and `batch_size`.
        batch_size: The number of samples drawn at once; None chooses by their size.
        device: Where to load a named model, or where to move the model; None leaves it.
        options: Sampling options of the model.

    Example:
        >>> sample("realnvp-moons", 4, seed=7).shape  # doctest: +SKIP
        torch.Size([4, 2])
    """

    model = as_model(model, device)
    parts = list(stream(model, n, seed=seed, batch_size=batch_size, **options))
    return torch.cat(parts) if parts else torch.empty(0, *model.event_shape, device=model.device, dtype=model.dtype)


def as_model(model: Model | str | Path, device: torch.device | str | None = None) -> Model:
    """Returns the model, loaded if it is a name."""

    if isinstance(model, torch.nn.Module):
        return model if device is None else model.to(device)
    from .loading import load

    return load(model, device=device or "cpu")


def _name(model: Model) -> str:
    return model.entry.name if model.entry is not None else type(model).__name__
