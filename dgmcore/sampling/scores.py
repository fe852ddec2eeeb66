r"""Judging data: log-likelihoods in nats, with what kind they are, and bits per dimension of the data's own levels.

Data of :math:`L` levels have the values :math:`a + k \delta`, :math:`\delta = (b - a) / (L - 1)`, in the model's range
:math:`[a, b]`. A density :math:`p` over that range gives the level :math:`k` (a vector of :math:`D` levels) the
probability

.. math:: P(k) = \int_{[-\frac12, \frac12]^D} p(a + (k + u) \delta) \, \delta^D \, du
          \quad\text{with}\quad \log P(k) \ge \mathbb{E}_u \log p(a + (k + u) \delta) + D \log \delta,

so a continuous model is measured at :math:`x + u \delta`, one uniform :math:`u` for each datum (uniform
dequantisation [1]), and

.. math:: \text{bits per dimension} = -\frac{\overline{\log p} + D \log \delta}{D \log 2}.

A model whose `log_prob` is the probability of the levels themselves is measured at the data, with :math:`\delta = 1`.

References:
    [1] A note on the evaluation of generative models (Theis et al., 2016), section 3.1
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor

from ..console import progress
from ..errors import DataError, UsageError
from ..interfaces import Critic, Density, Likelihood
from ..noise import IndexedNoise
from .processes import agree, joined, share_batches
from .settings import (
    MAX_SEED,
    as_model,
    batches,
    check_work,
    checked_size,
    model_name,
    model_range,
    require_finite,
    together,
    undisturbed,
    whole,
)

if TYPE_CHECKING:
    from pathlib import Path

    from ..data import Dataset
    from ..model import Model

__all__ = ["Judgements", "Scores", "judgements", "score"]

_NO_NUMBERS = "the data are no array of numbers"


class Scores(NamedTuple):
    """What a model says of data.

    Attributes:
        kind: `exact`, `lower_bound`, `estimate` or `unnormalized` log-likelihoods, or `critic`.
        unit: `nats`, or `score` for a critic.
        values: One for each datum, float64 `(n,)`; nats are those of the model's own range.
        n: The number of data.
        mean: Of the values.
        std: Of the values, divided by n.
        bits_per_dim: Of the data's own levels; None if those are unknown, or the model is not normalised.
        dequantized: Whether uniform noise of one level was added to the data.
    """

    kind: str
    unit: str
    values: Tensor
    n: int
    mean: float
    std: float
    bits_per_dim: float | None
    dequantized: bool


class Judgements(NamedTuple):
    """What a model says of each datum, in the words of :class:`Scores`.

    Attributes:
        values: One for each datum, float64 `(n,)`; minus infinity where a density holds a datum for impossible.
        step: The distance of two levels of the data, if they have levels and the values are nats.
    """

    kind: str
    unit: str
    values: Tensor
    step: float | None
    dequantized: bool


def score(
    model: Model | str | Path,
    data: Dataset | Tensor | np.ndarray | Sequence[Any] | str | Path,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    watch: Callable[[Tensor], Any] | None = None,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> Scores:
    """Judges each datum: by the density if the model has one, else by its critic.

    Datum number `i` has the same noise (of dequantisation, of bounds and estimates) whatever the batch size and the
    number of processes.

    Arguments:
        model: A model, or a name that :func:`dgmcore.load` accepts.
        data: A data set as :func:`dgmcore.data.open_for` returns it, what that accepts, or numbers in the model's
            range, `(n, *event_shape)`: a tensor, an array (bytes are carried to the range), or nested lists.
        watch: Is shown the values of each batch.
        options: Scoring options of the model, such as the `k` of a bound; the rest is as for :func:`dgmcore.sample`.

    Raises:
        UsageError: If the model judges nothing, or a number is out of range.
        DataError: If the data do not fit the model.
        NotFiniteError: If a value is not finite.
    """
    model = as_model(model, device)
    with progress("scoring", unit="data", cell=True) as advance:
        seen = watch or (lambda values: advance(len(values)))
        kind, unit, values, step, dequantized = judgements(
            model, data, batch_size=batch_size, seed=seed, watch=seen, options=together(options, named)
        )
    wrong = (~values.isfinite()).nonzero()
    first = f" from datum {int(wrong[0])} on" if len(wrong) else ""
    require_finite(values, f"{model_name(model)}'s {unit}{first}", "leave out data that are far from the model's")
    mean = float(values.mean())
    bits = None
    if step is not None and model.base_measure and kind != Likelihood.UNNORMALIZED:
        dims = math.prod(model.event_shape)
        volume = dims * math.log(step) if dequantized else 0.0
        bits = -(mean + volume) / (dims * math.log(2))
    return Scores(kind, unit, values, len(values), mean, float(values.std(correction=0)), bits, dequantized)


def judgements(
    model: Model,
    data: Dataset | Tensor | np.ndarray | Sequence[Any] | str | Path,
    *,
    batch_size: int | None = None,
    seed: int = 0,
    watch: Callable[[Tensor], Any] = lambda values: None,
    options: Mapping[str, Any] | None = None,
) -> Judgements:
    """Returns what a model says of each datum; arguments and errors are those of :func:`score`.

    A log-likelihood may be minus infinity here. Where a bound overflows, that is what it is.
    """
    judge, kind, unit = _judge(model, dict(options or {}))
    take, n, levels = _source(model, data)
    size, seed = checked_size(model, batch_size), whole(seed, "the seed", 0, MAX_SEED)
    limits = model_range(model)
    step = (limits[1] - limits[0]) / (levels - 1) if unit == "nats" and levels and limits else None
    dequantize = step is not None and model.base_measure == "lebesgue"

    def values(start: int, stop: int) -> Iterator[Tensor]:
        for first, length in batches(start, stop, size):
            noise = IndexedNoise.of(model, seed, length, first)
            x = take(first, length).to(model.device, model.dtype)
            _check_range(x, first, model)
            if dequantize and limits and step:
                x = _dequantized(x, noise.child("dequantize"), limits, step)
            value = _without_overflow(judge(x, noise).double().cpu(), kind, unit)
            watch(value)
            yield value

    asked = {"model": model_name(model), "n": n, "seed": seed, "batch size": size, "options": options}
    with torch.no_grad(), undisturbed(model), joined(**asked) as place:
        own = torch.cat([torch.empty(0, dtype=torch.float64), *values(*share_batches(n, size, place))])
        whole_of_them = torch.cat(agree(own)) if place.world > 1 else own
    return Judgements(kind, unit, whole_of_them, step, dequantize)


Judge = Callable[[Tensor, IndexedNoise], Tensor]


def _judge(model: Model, options: dict[str, Any]) -> tuple[Judge, str, str]:
    """Returns what maps data and noise to values `(n,)`, with their kind and unit."""
    model.scoring(options)  # a wrong option fails here
    check_work(model, options)  # flows in time are solved as their samples are
    if model.can("density"):
        density = cast(Density, model)
        kind = density.likelihood
        if kind in (Likelihood.LOWER_BOUND, Likelihood.ESTIMATE):
            return lambda x, noise: density.log_prob(x, noise=noise, **options), kind.value, "nats"
        return lambda x, noise: density.log_prob(x, **options), kind.value, "nats"
    if model.can("critic"):
        critic: Any = cast(Critic, model)  # whose options, if it has some, are by name
        return lambda x, noise: critic.score(x, **options), "critic", "score"
    raise UsageError(
        f"{model_name(model)} judges no data: {type(model).__name__} is neither a density nor a critic",
        "dgm list --can density, or dgm list --can critic",
    )


def _without_overflow(values: Tensor, kind: str, unit: str) -> Tensor:
    """Returns values in which a bound that overflowed, infinity less infinity, is minus infinity: still a bound."""
    overflowed = values.isnan() & (kind == Likelihood.LOWER_BOUND and unit == "nats")
    return values.masked_fill(overflowed, -math.inf)


def _source(model: Model, data: Any) -> tuple[Callable[[int, int], Tensor], int, int | None]:
    """Returns what takes `(first, length)` data, their number, and their levels.

    Numbers without levels of their own, such as arrays of floats, have those of the model's data.
    """
    levels = model.entry.data.levels if model.entry is not None else None
    known = isinstance(data, str | os.PathLike | Tensor) or hasattr(data, "levels")
    if isinstance(data, list | tuple) or (hasattr(data, "__array__") and not known):  # tables of pandas too
        data = _numbers(data, model)
    if isinstance(data, Tensor):
        if data.layout != torch.strided or data.is_meta or data.is_complex():
            raise DataError(_NO_NUMBERS, "give (n, *event_shape) real numbers: a dense tensor")
        if tuple(data.shape[1:]) != tuple(model.event_shape) or not len(data):
            raise DataError(
                f"data of shape {tuple(data.shape)} don't fit {model_name(model)}",
                f"give (n, {', '.join(map(str, model.event_shape))}) with n > 0",
            )
        require_finite(data, "the data", "leave them out")
        return lambda first, length: data[first : first + length], len(data), levels
    if not hasattr(data, "take"):
        from ..data import open_for

        data = open_for(model, data)
    return lambda first, length: data.take(np.arange(first, first + length)), len(data), data.levels or levels


def _numbers(data: Any, model: Model) -> Tensor:
    """Returns arrays and lists as a tensor, bytes carried to the range of the model's data."""
    try:
        array = np.asarray(data)
        if array.dtype.kind not in "biufO" or np.ma.is_masked(data):  # halves, dates and texts would become numbers
            raise TypeError(array.dtype)
        x = torch.from_numpy(np.ascontiguousarray(array, np.float32))
    except (TypeError, ValueError):
        raise DataError(_NO_NUMBERS, "give (n, *event_shape) real numbers, none masked") from None
    limits = model_range(model)
    return x * ((limits[1] - limits[0]) / 255) + limits[0] if array.dtype == np.uint8 and limits else x


def _check_range(x: Tensor, first: int, model: Model) -> None:
    """Refuses data that can't be the model's, as bytes where it wants numbers in [-1, 1]."""
    limits = model_range(model)
    if limits is None:
        return
    slack = 0.01 * (limits[1] - limits[0])
    wrong = ~((x >= limits[0] - slack) & (x <= limits[1] + slack)).flatten(1).all(1)
    if wrong.any():
        row = int(wrong.nonzero()[0])
        have = f"[{float(x[row].min()):.4g}, {float(x[row].max()):.4g}]"
        raise DataError(
            f"datum {first + row} has values in {have}, but {model_name(model)} wants [{limits[0]:g}, {limits[1]:g}]",
            "carry the data to that range, or store images as uint8",
        )


def _dequantized(x: Tensor, noise: IndexedNoise, limits: tuple[float, float], step: float) -> Tensor:
    """Returns the nearest levels plus uniform noise of one level, centred."""
    level = ((x - limits[0]) / step).round_()
    return limits[0] + (level + noise.uniform(*x.shape[1:]) - 0.5) * step
