"""What a metric is: a function of a run, and what it asks of a model.

The run is made by the plugin dgm-eval; :class:`Run` says what a metric may ask of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from ..entry import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Dataset
    from ..entry import Data, Entry
    from ..model import Model

__all__ = ["Requirements", "Run", "View", "flat", "metric", "unit"]

#: What a metric keeps of each point: maps a run and points `(n, *event_shape)` to `(n, ...)`.
View = Callable[["Run", "Tensor"], "Tensor"]


class Run(Protocol):
    """One evaluation: the model, its samples, the real data, and the settings that go into records."""

    model: Model
    entry: Entry
    #: The number of samples, and the number that the user asked for.
    n: int
    asked: int | None
    seed: int
    #: The real data with their split, and another split of the same data, which gives the floor.
    against: str
    other_name: str | None

    def samples(self, view: View) -> Tensor:
        """What `view` keeps of the model's samples."""

    def real(self, view: View) -> Tensor:
        """What `view` keeps of the real data."""

    def other(self, view: View) -> Tensor | None:
        """What `view` keeps of further real data, as many as there are samples; None without a second split."""

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Returns `compute()`, which metrics that share the `key` compute once."""

    def dataset(self, name: str, n: int | None = None) -> Dataset:
        """Opens `n` real data (None: all) in the shape and range of the model's."""

    def record(self, name: str, value: float, **fields: Any) -> Metric:
        """Returns a metric with the settings of this run; `fields` are what is particular to it."""


@dataclass(frozen=True)
class Requirements:
    """What a metric asks of a model and of its data."""

    can: tuple[str, ...] = ()
    views: Mapping[View, int | None] = field(default_factory=dict)  # at most so many points by default
    applies: Callable[[Run], bool] = lambda run: True


def metric(
    *,
    can: Iterable[str] = (),
    views: Mapping[View, int | None] | None = None,
    applies: Callable[[Run], bool] = lambda run: True,
) -> Callable[[Callable[[Run], Any]], Callable[[Run], Any]]:
    """Marks a function `run -> Metric | list[Metric]` as a metric.

    Arguments:
        can: Capabilities that the model must have.
        views: What is kept of samples and real data, so that one pass serves all metrics, each with
            the number of points that is enough when the user names none (None: as many as there are).
        applies: Whether it is computed by default.
    """

    def mark(function: Callable[[Run], Any]) -> Callable[[Run], Any]:
        function.requirements = Requirements(tuple(can), dict(views or {}), applies)
        return function

    return mark


def flat(run: Run, x: Tensor) -> Tensor:
    """A view: images in [0, 1] and other data as they are, flattened to `(n, d)`."""

    return unit(x, run.entry.data).flatten(1)


def unit(x: Tensor, data: Data, rounded: bool = True) -> Tensor:
    """Carries images to [0, 1] and rounds them to the data's levels, as a saved picture is; other data stay."""

    if data.range is None:
        return x
    low, high = data.range
    x = ((x - low) / (high - low)).clamp(0, 1)
    return (x * (data.levels - 1)).round() / (data.levels - 1) if data.levels and rounded else x
