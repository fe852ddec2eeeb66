r"""Drawing samples: batch by batch, each sample a function of `(model, seed, its number)` alone.

Batches are cut at multiples of the batch size, counted from sample 0, and processes share whole batches, so that a
run with several processes makes the very batches of a run with one.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from ..console import progress
from ..errors import UsageError
from ..interfaces import Trajectory
from ..noise import IndexedNoise
from .processes import joined, share_batches
from .provenance import making
from .settings import (
    MAX_SAMPLES,
    MAX_SEED,
    as_generator,
    as_model,
    batches,
    check_work,
    checked_size,
    model_name,
    outgoing,
    together,
    undisturbed,
    warn_of_overstepping,
    whole,
)
from .sinks import write_samples

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["first_states", "sample", "sample_to", "stream"]


def stream(
    model: Model | str | os.PathLike[str],
    n: int,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    start: int = 0,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> Iterator[Tensor]:
    """Yields samples `start` to `start + n - 1` of a seed in batches, each `(b, *event_shape)`.

    Sample `i` has the same noise whatever `n`, `start` and `batch_size`. The samples are on the model's device, of its
    dtype, and in the range of its data. The global random state is neither used nor changed.

    Arguments:
        model: A generator, in eval mode, or a name.
        n: How many samples.
        seed: The seed.
        batch_size: The number of samples drawn at once; None chooses by their size.
        start: The number of the first sample.
        options: Sampling options of the model.
        named: The same, by name.

    Raises:
        UsageError: If the model can't be sampled, or a number is out of range.
        OptionError: For an unknown option.
        NotFiniteError: If samples are not finite.
    """
    model = as_model(model)
    as_generator(model)
    n = whole(n, "the number of samples", 0, MAX_SAMPLES)
    start = whole(start, "the number of the first sample", 0, MAX_SAMPLES)
    seed, size = whole(seed, "the seed", 0, MAX_SEED), checked_size(model, batch_size)
    chosen = together(options, named)
    model.sampling(chosen)  # a wrong option fails here, before the first batch is asked for
    check_work(model, chosen)
    return _stream(model, n, seed, size, start, chosen)


def _stream(model: Model, n: int, seed: int, size: int, start: int, options: dict[str, Any]) -> Iterator[Tensor]:
    generator, told = as_generator(model), False
    for first, length in batches(start, start + n, size):
        noise = IndexedNoise.of(model, seed, length, first)
        # not inference mode: Langevin dynamics and continuous flows take gradients inside
        with torch.no_grad(), undisturbed(model):
            x, what = generator.sample(noise, **options), f"samples {first} to {first + length - 1}"
            told = told or warn_of_overstepping(x, model, what)
            x = outgoing(x, model, what)
        yield x


def sample(
    model: Model | str | Path,
    n: int = 16,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> Tensor:
    """Returns `n` samples, `(n, *event_shape)`; arguments and errors are those of :func:`stream`.

    Arguments:
        device: Where to load a named model, or where to move the model; None leaves it.

    Example:
        >>> sample("realnvp-moons", 4, seed=7).shape
        torch.Size([4, 2])
    """
    model = as_model(model, device)
    drawn = stream(model, n, seed=seed, batch_size=batch_size, options=together(options, named))
    with progress("sampling", n, "samples", cell=True) as advance:
        parts = []
        for x in drawn:
            parts.append(x)
            advance(len(x))
    return torch.cat(parts) if parts else torch.empty(0, *model.event_shape, device=model.device, dtype=model.dtype)


def sample_to(
    path: str | os.PathLike[str],
    model: Model,
    n: int = 16,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    first: Tensor | None = None,
    watch: Callable[[np.ndarray], Any] = lambda x: None,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> Path:
    """Writes `n` samples to a file or a folder in constant memory; see :mod:`dgmcore.sampling.sinks` for the kinds.

    Where a launcher started several processes, each must call this: they share the batches, and the first process
    writes the file, the same as one process alone.

    Arguments:
        path: The file, whose suffix says what is written, or a folder; others are those of :func:`stream`.
        first: The samples of the first batch, if they are known already.
        watch: Is shown each batch `(b, *event_shape)` when it has been written.

    Raises:
        DgmError: If the file can't be written; nothing of it is left then.
    """
    n, size = whole(n, "the number of samples", 0, MAX_SAMPLES), checked_size(model, batch_size)
    chosen = together(options, named)
    asked = {"model": model_name(model), "n": n, "seed": seed, "batch size": size, "options": chosen, "out": str(path)}
    made = making("sample", model, n=n, seed=seed, batch_size=size, options=chosen)
    with joined(**asked) as place, made:
        start, stop = share_batches(n, size, place)
        known = [first] if first is not None and place.is_main else []
        done = sum(map(len, known))
        drawn = stream(model, stop - start - done, seed=seed, batch_size=size, start=start + done, options=chosen)
        arrays = (x.detach().cpu().float().contiguous().numpy() for x in chain(known, drawn))
        return write_samples(Path(path), model, n, arrays, size, watch)


def first_states(
    model: Model,
    n: int,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> Iterator[Tensor]:
    """Yields the states of an iterative sampler for its first batch; the last are the batch's samples."""
    if not model.can("trajectory"):
        raise UsageError(f"{model_name(model)} has no trajectory: it draws in one step", "leave it out, or use --tilt")
    chosen = together(options, named)
    model.sampling(chosen)
    check_work(model, chosen)
    length = min(whole(n, "the number of samples", 0, MAX_SAMPLES), checked_size(model, batch_size))
    noise = IndexedNoise.of(model, whole(seed, "the seed", 0, MAX_SEED), length)
    states = cast(Trajectory, model).trajectory(noise, **chosen)
    while True:
        with torch.no_grad(), undisturbed(model):
            state = next(states, None)
        if state is None:
            return
        yield outgoing(state, model, "states")
