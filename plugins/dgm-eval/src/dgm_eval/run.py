"""One evaluation: the points that its metrics look at, and the protocol that goes into their records."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from functools import cached_property
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from dgmcore.config import to_dict
from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Requirements, View
from dgmcore.sampling.draw import stream
from dgmcore.sampling.processes import agree, here, share_batches
from dgmcore.sampling.settings import MAX_SEED, default_batch_size, require_finite, whole

from .extractor import Extractor
from .metrics.comparison import features
from .real import PREFIX, Shuffled, splits
from .sources.given import Given
from .sources.networks import FileExtractor, is_network_file
from .sources.statistics import reference
from .two_samples.view import seen

if TYPE_CHECKING:
    from dgmcore.data.view import View as DataView
    from dgmcore.model import Model

__all__ = ["Evaluation", "Progress"]

#: Called as `progress(label, total)`: a context manager that yields `advance(k)`.
Progress = Callable[[str, int], AbstractContextManager[Callable[..., None]]]

T = TypeVar("T")

_LABELS = {"samples": "sampling", "real": "real data", "other": "floor"}


class Evaluation:
    """The samples, the real data and the settings of one evaluation: the :class:`~dgmcore.evaluation.Run` of metrics.

    `samples`, `real` and `other` return what a view keeps of the model's samples, of the real data, and of
    further real data (another split), which give the floor: real against real. Points stream
    through; only what the metrics' views keep stays.
    """

    def __init__(
        self,
        model: Model,
        *,
        n: int | None = None,
        against: str | None = None,
        features: str | None = None,
        ood: str | None = None,
        seed: int = 0,
        batch_size: int | None = None,
        options: Mapping[str, Any] | None = None,
        command: str | None = None,
        progress: Progress | None = None,
    ):
        if model.entry is None:
            raise UsageError("the model has no entry, so its data are unknown", "load it by name, or save it first")
        n = None if n is None else whole(n, "the number of samples to measure", 2)
        batch_size = None if batch_size is None else whole(batch_size, "the batch size", 1)
        seed = whole(seed, "the seed", 0, MAX_SEED)
        self.model, self.entry = model, model.entry
        self.asked, self.n = n, _number(model, n)
        self.seed, self.batch_size, self.command = seed, batch_size, command
        self.ood, self._features_name, self._progress = ood, features, progress
        self.sampling_options, self.scoring_options = _divided(model, options or {})
        self.sampling: dict[str, Any] = to_dict(model.sampling(self.sampling_options))
        self.scoring: dict[str, Any] = to_dict(model.scoring(self.scoring_options))
        self.against, self.other_name = splits(against, self.entry)
        self.statistics = reference(self.against) if self.against.startswith(PREFIX) else None
        self._wanted: dict[View, int | None] = {}
        self._kept: dict[str, dict[View, Tensor]] = {}
        self._results: dict[Hashable, Any] = {}

    # --- points --------------------------------------------------------------------------------

    def expect(self, requirements: Iterable[Requirements]) -> None:
        """Says beforehand which metrics will be computed, so that one pass serves all of them."""

        for required in requirements:
            for view, most in required.views.items():
                before = self._wanted.get(view, most)
                self._wanted[view] = None if most is None or before is None else max(before, most)

    def samples(self, view: View) -> Tensor:
        """What `view` keeps of the model's samples."""
        return self._side("samples", view)

    def real(self, view: View) -> Tensor:
        """What `view` keeps of the real data."""
        if self.statistics is not None:
            return self._of_statistics(view)
        return self._side("real", view)

    def _of_statistics(self, view: View) -> Tensor:
        """What reference statistics keep of the real data: the network's features."""

        assert self.statistics is not None
        if view not in (features, seen):
            raise UsageError(f"{self.against} has features only", "use a metric of features, or name the data")
        self.statistics.check(self.extractor.fields())
        values = self.statistics.values.cpu()
        if self.asked is None or self.asked >= len(values):
            return values
        order = torch.randperm(len(values), generator=torch.Generator().manual_seed(self.seed))
        return values[order[: self.asked]]

    def other(self, view: View) -> Tensor | None:
        """What `view` keeps of further real data, as many as there are samples; None without a second split."""
        return self._side("other", view) if self.other_name else None

    def once(self, key: Hashable, compute: Callable[[], T]) -> T:
        """Returns `compute()`, which metrics that share the `key` compute once."""
        if key not in self._results:
            self._results[key] = compute()
        found: T = self._results[key]
        return found

    def _side(self, side: str, view: View) -> Tensor:
        kept = self._kept.setdefault(side, {})
        if view not in kept:
            views = {v: most for v, most in self._wanted.items() if v not in kept}
            kept.update(self._pass(side, {**views, view: self._wanted.get(view)}))
        return kept[view]

    @torch.no_grad()
    def _pass(self, side: str, views: dict[View, int | None]) -> dict[View, Tensor]:
        """Streams through one side's points and keeps what the views ask for."""

        total = self.n if side == "samples" else len(self._data(side))
        most = {view: min(total, total if self.asked or cap is None else cap) for view, cap in views.items()}
        start, stop = share_batches(max(most.values()), self._batch(side), here())
        kept: dict[View, list[Tensor]] = {view: [] for view in views}
        with self.progress(_LABELS[side], stop - start) as advance:
            at = start
            for x in self._points(side, start, stop):
                for view, enough in most.items():
                    if at < enough:
                        kept[view].append(view(self, x[: enough - at]).cpu())
                at += len(x)
                advance(len(x))
        found = {view: _over_processes(parts) for view, parts in kept.items()}
        for view, values in found.items():
            what = f"what {getattr(view, '__name__', 'a view')} keeps of the {_LABELS[side]}"
            require_finite(values, what, "nothing can be measured with them: look at the samples and the network")
        return found

    def _points(self, side: str, start: int, stop: int) -> Iterator[Tensor]:
        if side == "samples":
            yield from stream(
                self.model,
                stop - start,
                start=start,
                seed=self.seed,
                batch_size=self.batch_size,
                options=self.sampling_options,
            )
            return
        data, size = self._data(side), self._batch(side)
        for at in range(start, stop, size):
            yield data.take(np.arange(at, min(at + size, stop))).to(self.model.device)

    def _batch(self, side: str) -> int:
        return (self.batch_size if side == "samples" else None) or default_batch_size(self.model)

    def _data(self, side: str) -> Shuffled:
        name = self.against if side == "real" else self.other_name
        return self.dataset(name or self.against, self.asked or 10_000)

    def dataset(self, name: str, n: int | None = None) -> Shuffled:
        """Opens `n` real data (None: all) in the shape and range of the model's."""
        from dgmcore.data import open_for

        def whole() -> DataView:
            return open_for(self.entry, name)

        return Shuffled(self.once(("dataset", name), whole), n, self.seed)

    def progress(self, label: str, total: int) -> AbstractContextManager[Callable[..., None]]:
        """A context manager that yields `advance(k)`."""
        return self._progress(label, total) if self._progress else nullcontext(lambda k=1, **fields: None)

    # --- the feature network -------------------------------------------------------------------

    @cached_property
    def features_name(self) -> str | None:
        """The entry whose features are used: the one asked for, or the one registered for the data set."""
        from dgmcore import plugins

        if self._features_name is None and self.statistics is not None:
            return str(self.statistics.config.features)
        record = plugins.features().get(self.entry.data.dataset)
        return self._features_name or (record.entry if record else None)

    @cached_property
    def extractor(self) -> Extractor | FileExtractor:
        """The network of that entry, or in that file.

        Raises:
            UsageError: If there is none.
        """

        if self.features_name is None:
            raise UsageError(
                f"no feature extractor is registered for {self.entry.data.dataset}",
                "give an entry that has features with --features ENTRY, see `dgm list --can features`",
            )
        if is_network_file(self.features_name):
            return FileExtractor(self.features_name, self.entry.data, self.model.device)
        return Extractor(self.features_name, self.entry.data, self.model.device)

    # --- records -------------------------------------------------------------------------------

    def record(self, name: str, value: float, **fields: Any) -> Metric:
        """Returns a metric with the settings of this run; `fields` are what is particular to it.

        Raises:
            NotFiniteError: If a number in it is not finite.
        """

        weights = self.entry.weights
        fields = {"weights": ("ema" if weights.ema else "raw") if weights else None, "seed": self.seed, **fields}
        for key, number in (("", value), ("floor of ", fields.get("floor")), ("deviation of ", fields.get("std"))):
            if number is not None:
                require_finite(float(number), f"the {key}{name} of {self.entry.name}", "it can't be measured so")
        if not all(map(math.isfinite, fields.get("interval") or ())):  # so few points tell nothing of it
            fields["interval"] = None
        return Metric(name=name, value=float(value), command=self.command, **fields)


def _number(model: Model, n: int | None) -> int:
    """Returns the number of samples to measure; of samples that are given there are so many and no more."""

    if not isinstance(model, Given):
        return n or 10_000
    if n is not None and n > len(model):
        raise UsageError(f"there are {len(model):,} samples, not {n:,}", "lower --n, or leave it out")
    return n or min(10_000, len(model))


def _divided(model: Model, options: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Divides options into those of sampling, with those that nothing knows, and those of scoring."""

    sampling, scoring = (set(to_dict(chosen)) for chosen in (model.sampling(), model.scoring()))
    drawing = {k: v for k, v in options.items() if k in sampling or k not in scoring}
    return drawing, {k: v for k, v in options.items() if k in scoring}


def _over_processes(parts: list[Tensor]) -> Tensor:
    """Concatenates what all processes kept, in the order of their ranks."""

    own = torch.cat(parts) if parts else None
    blocks = agree(own) if here().world > 1 else [own]
    return torch.cat([block for block in blocks if block is not None])
