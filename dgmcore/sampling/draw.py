r"""Drawing samples: batch by batch, each sample a function of `(model, seed, its number)` alone.

Batches are cut at multiples of the batch size, counted from sample 0, and processes share whole batches, so that a
run with several processes makes the very batches of a run with one.
"""

from __future__ import annotations

import math
import os
import secrets
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..noise import IndexedNoise
from .parallel import agree, group, here, share_batches

if TYPE_CHECKING:
    from ..model import Model

__all__ = [
    "as_model",
    "batches",
    "default_batch_size",
    "first_states",
    "in_range",
    "model_name",
    "model_range",
    "sample",
    "sample_to",
    "stream",
]


Watch = Callable[[np.ndarray], Any]


def default_batch_size(model: Model) -> int:
    """Returns a batch size that bounds the memory: fewer of what is larger, more on a GPU."""

    numbers = 2**18 if model.device.type == "cpu" else 2**21
    return max(1, min(2**12, numbers // math.prod(model.event_shape)))


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
        >>> mean = sum(x.sum(0) for x in stream(load("realnvp-moons"), 10_000)) / 10_000
        >>> mean.shape
        torch.Size([2])
    """

    if not model.can("generator"):
        raise UsageError(
            f"{model_name(model)} can't be sampled: {type(model).__name__} is no generator",
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
        >>> sample("realnvp-moons", 4, seed=7).shape
        torch.Size([4, 2])
    """

    model = as_model(model, device)
    parts = list(stream(model, n, seed=seed, batch_size=batch_size, **options))
    return torch.cat(parts) if parts else torch.empty(0, *model.event_shape, device=model.device, dtype=model.dtype)


def sample_to(
    path: str | os.PathLike[str],
    model: Model,
    n: int = 16,
    *,
    seed: int = 0,
    batch_size: int | None = None,
    first: Tensor | None = None,
    watch: Watch = lambda x: None,
    **options: Any,
) -> Path:
    """Writes `n` samples to a file or a folder in constant memory; see :mod:`dgmcore.sampling.sinks` for the kinds.

    Where a launcher started several processes, each must call this: they share the batches, and the first process
    writes the file, the same as one process alone.

    Arguments:
        path: The file, whose suffix says what is written, or a folder.
        model: A generator.
        n: How many samples.
        seed: The seed.
        batch_size: The number of samples drawn at once; None chooses by their size.
        first: The samples of the first batch, if they are known already.
        watch: Is shown each batch `(b, *event_shape)` when it has been written.
        options: Sampling options of the model.

    Raises:
        DgmError: If the file can't be written; nothing of it is left then.
    """

    from .sinks import open_sink

    place = here()
    size = batch_size or default_batch_size(model)
    start, stop = share_batches(n, size, place)
    known = [first] if first is not None and place.is_main else []
    done = sum(map(len, known))
    drawn = stream(model, stop - start - done, seed=seed, batch_size=size, start=start + done, **options)
    own = map(_array, chain(known, drawn))
    if place.world > 1:
        with group():
            _sample_together(Path(path), model, n, own, size, watch)
        return Path(path)
    with open_sink(path, n, model) as write:
        _pour(own, write, watch)
    return Path(path)


def first_states(
    model: Model, n: int, *, seed: int = 0, batch_size: int | None = None, **options: Any
) -> Iterator[Tensor]:
    """Yields the states of an iterative sampler for its first batch; the last are the batch's samples."""

    if not model.can("trajectory"):
        raise UsageError(
            f"{model_name(model)} has no trajectory: it draws in one step", "leave out --trajectory, or use --tilt"
        )
    model.sampling(options)
    length = min(n, batch_size or default_batch_size(model))
    noise = IndexedNoise(seed, length, device=model.device, dtype=model.dtype)
    states = model.trajectory(noise, **options)
    while True:
        with torch.no_grad():
            state = next(states, None)
        if state is None:
            return
        yield in_range(state, model)


def as_model(model: Model | str | Path, device: torch.device | str | None = None) -> Model:
    """Returns the model, loaded if it is a name."""

    if isinstance(model, torch.nn.Module):
        return model if device is None else model.to(device)
    from ..loading.load import load

    return load(model, device=device or "cpu")


def model_name(model: Model) -> str:
    """Returns the entry's name, or the class's."""

    return model.entry.name if model.entry is not None else type(model).__name__


def _array(x: Tensor) -> np.ndarray:
    return x.detach().cpu().float().contiguous().numpy()


def _pour(xs: Iterable[np.ndarray], write: Callable[[np.ndarray], Any], watch: Watch) -> None:
    for x in xs:
        write(x)
        watch(x)


# --- several processes -----------------------------------------------------------------------------


def _sample_together(path: Path, model: Model, n: int, own: Iterable[np.ndarray], size: int, watch: Watch) -> None:
    """Writes what all processes draw: the others leave theirs in hidden files, which the first one takes in order."""

    from ..files.atomic import temporary_name
    from .sinks import open_sink

    place = here()
    token = agree(secrets.token_hex(4) if place.is_main else None)[0]
    target = path.absolute()
    parts = [target.with_name(f"{target.name}.part{rank}") for rank in range(place.world)]
    if not place.is_main:
        with ExitStack() as stack:
            mine = parts[place.rank]
            agree(error=_failure(lambda: _write_part(stack, mine, token, own, watch)))  # here it is
            agree()  # and the first process has read it
        return
    with ExitStack() as stack:

        def draw() -> None:
            nonlocal write
            write = stack.enter_context(open_sink(path, n, model))
            _pour(own, write, watch)

        def take() -> None:
            for part in parts[1:]:
                _pour(_read_part(temporary_name(part, token), size, tuple(model.event_shape)), write, watch)

        write: Callable[[np.ndarray], None] = lambda x: None  # noqa: E731
        agree(error=_failure(draw))
        agree(error=_failure(take))


def _failure(work: Callable[[], None]) -> Exception | None:
    """Returns what went wrong, so that the other processes can be told before it is raised."""

    try:
        work()
    except Exception as e:
        return e
    return None


def _write_part(stack: ExitStack, part: Path, token: str, own: Iterable[np.ndarray], watch: Watch) -> None:
    """Writes samples into a hidden file that is there until `stack` is closed."""

    from ..files.atomic import hidden, write_error

    try:
        part.parent.mkdir(parents=True, exist_ok=True)
        with stack.enter_context(hidden(part, token=token)).open("wb") as file:
            _pour(own, lambda x: file.write(x.tobytes()), watch)
    except OSError as e:
        raise write_error(part, e) from e


def _read_part(part: Path, size: int, shape: tuple[int, ...]) -> Iterator[np.ndarray]:
    with part.open("rb") as file:
        while block := file.read(4 * math.prod(shape) * size):
            yield np.frombuffer(block, np.float32).reshape(-1, *shape)
