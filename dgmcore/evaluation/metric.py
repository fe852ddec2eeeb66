"""What a metric is: a function of a run, and what it asks of a model.

The run is made by the plugin dgm-eval; :class:`Run` says what a metric may ask of it.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from ..entry import Metric

if TYPE_CHECKING:
    from torch import Tensor

    from ..data import Dataset
    from ..entry import Data, Entry
    from ..model import Model

__all__ = ["Function", "Marked", "Requirements", "Run", "View", "flat", "metric", "unit"]

#: What a metric keeps of each point: maps a run and points `(n, *event_shape)` to `(n, ...)`.
View = Callable[["Run", "Tensor"], "Tensor"]

#: What an author writes.
Function = Callable[["Run"], "Metric | list[Metric]"]

T = TypeVar("T")


class Run(Protocol):
    """One evaluation: the model, its samples, the real data, and the settings that go into records."""

    model: Model
    entry: Entry
    #: The number of samples, and the number that the user asked for.
    n: int
    asked: int | None
    seed: int
    batch_size: int | None
    #: The real data with their split, and another split of the same data, which gives the floor.
    against: str
    other_name: str | None
    #: Data out of distribution, if the user named some.
    ood: str | None
    #: All options of sampling and of scoring, which go into records; and those that the user chose for scoring.
    sampling: dict[str, Any]
    scoring: dict[str, Any]
    scoring_options: dict[str, Any]

    @property
    def features_name(self) -> str | None:
        """The entry whose features are used; None where none is registered for the data set."""

    @property
    def extractor(self) -> Any:
        """The network of that entry: `features(x)`, `logits(x)` of a classifier, and `fields()` for a record."""

    def samples(self, view: View) -> Tensor:
        """What `view` keeps of the model's samples."""

    def real(self, view: View) -> Tensor:
        """What `view` keeps of the real data."""

    def other(self, view: View) -> Tensor | None:
        """What `view` keeps of further real data, as many as there are samples; None without a second split."""

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Returns `compute()`, which metrics that share the `key` compute once."""

    def dataset(self, name: str, n: int | None = None) -> Dataset:
        """Opens `n` real data (None: all) in the shape and range of the model's."""

    def progress(self, label: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        """A context manager that yields `advance(k)`."""

    def record(self, name: str, value: float, **fields: Any) -> Metric:
        """Returns a metric with the settings of this run; `fields` are what is particular to it.

        Raises:
            NotFiniteError: If a number in it is not finite.
        """


@dataclass(frozen=True)
class Requirements:
    """What a metric asks of a model and of its data."""

    can: tuple[str, ...] = ()
    views: Mapping[View, int | None] = field(default_factory=dict)  # at most so many points by default
    applies: Callable[[Run], bool] = lambda run: True


class Marked(Protocol):
    """A metric: a function of a run that says what it requires."""

    requirements: Requirements

    def __call__(self, run: Run, /) -> Metric | list[Metric]: ...


def metric(
    *,
    can: Iterable[str] = (),
    views: Mapping[View, int | None] | None = None,
    applies: Callable[[Run], bool] = lambda run: True,
) -> Callable[[Function], Marked]:
    """Marks a function `run -> Metric | list[Metric]` as a metric.

    Arguments:
        can: Capabilities that the model must have.
        views: What is kept of samples and real data, so that one pass serves all metrics, each with
            the number of points that is enough when the user names none (None: as many as there are).
        applies: Whether it is computed by default.
    """

    def mark(function: Function) -> Marked:
        marked = cast(Marked, function)
        marked.requirements = Requirements(tuple(can), dict(views or {}), applies)
        return marked

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
