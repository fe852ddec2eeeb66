"""What drawing and judging ask of a model and of their arguments, before and after its work."""

from __future__ import annotations

import math
import operator
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from ..console import warn
from ..errors import NotFiniteError, OptionError, UsageError
from ..interfaces import Generator
from ..loading.load import load, on_device

if TYPE_CHECKING:
    from ..model import Model

#: What every generator of random numbers takes.
MAX_SEED = 2**63 - 1
#: The number of samples that a seed has.
MAX_SAMPLES = 2**62
#: The most steps, or other whole numbers of work, that an entry asks its sampler for without its user's word.
MAX_WORK = 10_000
#: How far outside of the data's range samples may lie before somebody is told, as a mean share of its width.
OVERSTEPPING = 0.1


# --- arguments --------------------------------------------------------------------------------------


def whole(value: Any, what: str, least: int, most: int | None = None) -> int:
    """Returns a whole number within bounds.

    Raises:
        UsageError: If it is another number, or none.

    Example:
        >>> whole(2.5, "the number of samples", 0)
        Traceback (most recent call last):
        dgmcore.errors.UsageError: the number of samples can't be 2.5 (give a whole number of at least 0)
    """
    bounds = f"of at least {least}" if most is None else f"from {least} to {most}"
    try:
        number = None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = None
    if number is None or number < least or (most is not None and number > most):
        raise UsageError(f"{what} can't be {value!r:.60}", f"give a whole number {bounds}")
    return number


def checked_size(model: Model, batch_size: Any) -> int:
    """Returns the batch size asked for, or the default."""
    return default_batch_size(model) if batch_size is None else whole(batch_size, "the batch size", 1)


def together(options: Mapping[str, Any] | None, named: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the options of a model that were given as one mapping, and those that were given by name.

    Raises:
        OptionError: If one is given twice.
    """
    if not isinstance(options or {}, Mapping):
        raise OptionError(f"options can't be {options!r:.60}", "give a mapping, such as {'steps': 20}")
    twice = sorted(set(options or {}) & set(named))
    if twice:
        raise OptionError(f"the option {twice[0]} is given twice", "give it by name, or in options")
    return {**(options or {}), **named}


# --- the model --------------------------------------------------------------------------------------


def as_model(model: Model | str | os.PathLike[str], device: torch.device | str | None = None) -> Model:
    """Returns the model, loaded if it is a name."""
    if not isinstance(model, torch.nn.Module):
        model = load(model, device=device or "cpu")
    elif device is not None:
        model = on_device(model, device)
    if model.device.type == "meta":
        raise UsageError(f"{model_name(model)} is on the device meta, which holds no numbers", "use another device")
    return model


def as_generator(model: Model) -> Generator:
    """Returns a model that can be sampled.

    Raises:
        UsageError: If it can't.
    """
    if not model.can("generator"):
        raise UsageError(
            f"{model_name(model)} can't be sampled: {type(model).__name__} is no generator",
            f"it can: {', '.join(model.capabilities) or 'nothing'}",
        )
    return cast(Generator, model)


def check_work(model: Model, options: Mapping[str, Any]) -> None:
    """Raises an OptionError for work that takes very long, and that the entry asks for, not the user."""
    for name, value in (model.entry.sampling if model.entry is not None else {}).items():
        if name not in options and isinstance(value, int) and value > MAX_WORK:
            what = f"the entry of {model_name(model)} asks for {name}={value:,}, which may take very long"
            raise OptionError(what, f"to draw by it: --set {name}={value}; or by fewer")


def model_name(model: Model) -> str:
    """Returns the entry's name, or the class's."""
    return model.entry.name if model.entry is not None else type(model).__name__


def model_range(model: Model) -> tuple[float, float] | None:
    """Returns the range of the model's data, or None if they are unbounded."""
    return model.entry.data.range if model.entry is not None else model.data_range


def default_batch_size(model: Model) -> int:
    """Returns a batch size that bounds the memory: fewer of what is larger, more on a GPU."""
    numbers = 2**18 if model.device.type == "cpu" else 2**21
    return max(1, min(2**12, numbers // math.prod(model.event_shape)))


@contextmanager
def undisturbed(model: Model) -> Iterator[None]:
    """Within the block a model works as it was tested, whatever a program has set: autocast, default device or type."""
    home = torch.device("cpu") if torch.get_default_device().type != "cpu" else nullcontext()
    dtype = torch.get_default_dtype()
    with torch.autocast(model.device.type, enabled=False), home:
        try:
            torch.set_default_dtype(torch.float32)
            yield
        finally:
            torch.set_default_dtype(dtype)


# --- its work ---------------------------------------------------------------------------------------


def batches(start: int, stop: int, size: int) -> Iterator[tuple[int, int]]:
    """Yields `(first, length)` of the batches of `start` to `stop - 1`, cut at the multiples of `size`."""
    while start < stop:
        end = min(stop, (start // size + 1) * size)
        yield start, end - start
        start = end


def require_finite(x: Tensor | np.ndarray | float, what: str, hint: str) -> None:
    """Refuses NaN and infinity.

    Arguments:
        x: A number, or an array or tensor of numbers.
        what: What they are, such as `samples 0 to 15`.
        hint: What to do about it, one line.

    Raises:
        NotFiniteError: If one of them is not finite; it says how many of how many.

    Example:
        >>> require_finite(float("nan"), "the mean", "leave out the data that are far away")
        Traceback (most recent call last):
        dgmcore.errors.NotFiniteError: the mean is nan (leave out the data that are far away)
    """
    if isinstance(x, (int, float)):
        if not math.isfinite(x):
            raise NotFiniteError(f"{what} is {x}", hint)
        return
    finite = np.isfinite(x) if isinstance(x, np.ndarray) else x.isfinite()
    wrong = math.prod(x.shape) - int(finite.sum())
    if wrong:
        raise NotFiniteError(f"{wrong:,} of {math.prod(x.shape):,} values of {what} are not finite", hint)


def warn_of_overstepping(x: Tensor, model: Model, what: str) -> bool:
    """Warns of samples that lie far outside of the data's range, where they are cut off; returns whether they do."""
    limits = model_range(model)
    if limits is None:
        return False
    width, beyond = limits[1] - limits[0], (x - x.clamp(*limits)).abs()
    far = OVERSTEPPING * width < float(beyond.mean()) < math.inf
    if far:
        share, low, high = float((beyond > 0).float().mean()), *limits
        said = f"{share:.0%} of the values of {what} of {model_name(model)} are outside of its data's range"
        warn(f"{said}, [{low:g}, {high:g}], and are cut off: a chain whose steps are too large leaves it")
    return far


def outgoing(x: Tensor, model: Model, what: str) -> Tensor:
    """Returns what leaves a model, cut to the range of its data: a flow may overshoot the values that a pixel can have.

    Raises:
        NotFiniteError: If it is not finite.
    """
    hint = "change the model's options with --set, such as a smaller step_size: `dgm info NAME` lists them"
    require_finite(x, f"{what} of {model_name(model)}", hint)
    limits = model_range(model)
    return x if limits is None else x.clamp(*limits)
