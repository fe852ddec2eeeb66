"""One evaluation: the points that its metrics look at, and the protocol that goes into their records."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.extractor import Extractor
from dgmcore.evaluation.metric import View
from dgmcore.sampling.parallel import agree, here, share_batches

from .real import Shuffled, splits

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["Run"]


class Run:
    """The samples, the real data and the settings of one evaluation.

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
        progress: Callable[..., Any] | None = None,
    ):
        if model.entry is None:
            raise UsageError("the model has no entry, so its data are unknown", "load it by name, or save it first")
        if n is not None and n < 2:
            raise UsageError(f"can't evaluate with {n} samples", "give --n a larger number")
        self.model, self.entry = model, model.entry
        self.asked, self.n = n, n or 10_000
        self.seed, self.batch_size, self.command = seed, batch_size, command
        self.ood, self._features_name, self._progress = ood, features, progress
        self._options(dict(options or {}))
        self.against, self.other_name = splits(against, self.entry)
        self.wanted: dict[View, int | None] = {}
        self._kept: dict[str, dict[View, Tensor]] = {}
        self._results: dict[Any, Any] = {}

    def _options(self, options: dict[str, Any]) -> None:
        """Splits `--set` into options of sampling and of scoring; what neither knows is an error."""
        from dgmcore.config import to_dict

        known = {side: set(getattr(self.model, side).__struct_fields__) for side in ("Sampling", "Scoring")}
        unknown = {k: v for k, v in options.items() if k not in known["Sampling"] | known["Scoring"]}
        own = {k: v for k, v in options.items() if k in known["Sampling"]} | unknown
        self.sampling_options = own
        self.scoring_options = {k: v for k, v in options.items() if k in known["Scoring"]}
        self.sampling = to_dict(self.model.sampling(own))  # raises for the unknown
        self.scoring = to_dict(self.model.scoring(self.scoring_options))

    # --- points --------------------------------------------------------------------------------

    def samples(self, view: View) -> Tensor:
        """What `view` keeps of the model's samples."""
        return self._side("samples", view)

    def real(self, view: View) -> Tensor:
        """What `view` keeps of the real data."""
        return self._side("real", view)

    def other(self, view: View) -> Tensor | None:
        """What `view` keeps of further real data, as many as there are samples; None without a second split."""
        return self._side("other", view) if self.other_name else None

    def once(self, key: Any, compute: Callable[[], Any]) -> Any:
        """Returns `compute()`, which metrics that share the `key` compute once."""
        if key not in self._results:
            self._results[key] = compute()
        return self._results[key]

    def _side(self, side: str, view: View) -> Tensor:
        if view not in self._kept.setdefault(side, {}):
            views = {v: most for v, most in self.wanted.items() if v not in self._kept[side]}
            self._kept[side].update(self._pass(side, {**views, view: self.wanted.get(view)}))
        return self._kept[side][view]

    @torch.no_grad()
    def _pass(self, side: str, views: dict[View, int | None]) -> dict[View, Tensor]:
        """Streams through one side's points and keeps what the views ask for."""

        total = self.n if side == "samples" else len(self._data(side))
        most = {view: min(total, total if self.asked or cap is None else cap) for view, cap in views.items()}
        start, stop = share_batches(max(most.values()), self._batch(side), here())
        kept: dict[View, list[Tensor]] = {view: [] for view in views}
        with self.progress({"samples": "sampling", "real": "real data"}.get(side, "floor"), stop - start) as advance:
            at = start
            for x in self._points(side, start, stop):
                for view, enough in most.items():
                    if at < enough:
                        kept[view].append(view(self, x[: enough - at]).cpu())
                at += len(x)
                advance(len(x))
        return {view: _over_processes(parts) for view, parts in kept.items()}

    def _points(self, side: str, start: int, stop: int) -> Iterator[Tensor]:
        if side == "samples":
            from dgmcore.sampling.draw import stream

            yield from stream(
                self.model,
                stop - start,
                seed=self.seed,
                batch_size=self.batch_size,
                start=start,
                **self.sampling_options,
            )
            return
        data, size = self._data(side), self._batch(side)
        for at in range(start, stop, size):
            yield data.take(np.arange(at, min(at + size, stop))).to(self.model.device)

    def _batch(self, side: str) -> int:
        from dgmcore.sampling.draw import default_batch_size

        return (side == "samples" and self.batch_size) or default_batch_size(self.model)

    def _data(self, side: str) -> Shuffled:
        return self.dataset(self.against if side == "real" else self.other_name, self.n)

    def dataset(self, name: str, n: int | None = None) -> Shuffled:
        """Opens `n` real data (None: all) in the shape and range of the model's."""
        from dgmcore.data import open_for

        whole = self.once(("dataset", name), lambda: open_for(self.entry, name))
        return Shuffled(whole, n, self.seed)

    def progress(self, label: str, total: int) -> Any:
        """A context manager that yields `advance(k)`."""
        from contextlib import nullcontext

        return self._progress(label, total) if self._progress else nullcontext(lambda k=1, **fields: None)

    # --- the feature network -------------------------------------------------------------------

    @cached_property
    def features_name(self) -> str | None:
        """The entry whose features are used: the one asked for, or the one registered for the data set."""
        from dgmcore import plugins

        record = plugins.features().get(self.entry.data.dataset)
        return self._features_name or (record.entry if record else None)

    @cached_property
    def extractor(self) -> Extractor:
        if self.features_name is None:
            raise UsageError(
                f"no feature extractor is registered for {self.entry.data.dataset}",
                "give an entry that has features with --features ENTRY, see `dgm list --can features`",
            )
        return Extractor(self.features_name, self.entry.data, self.model.device)

    # --- records -------------------------------------------------------------------------------

    def record(self, name: str, value: float, **fields: Any) -> Metric:
        """Returns a metric with the settings of this run; `fields` are what is particular to it."""

        weights = self.entry.weights
        fields = {"weights": ("ema" if weights.ema else "raw") if weights else None, "seed": self.seed, **fields}
        return Metric(name=name, value=float(value), command=self.command, **fields)


def _over_processes(parts: list[Tensor]) -> Tensor:
    """Concatenates what all processes kept, in the order of their ranks."""

    own = torch.cat(parts) if parts else None
    blocks = agree(own) if here().world > 1 else [own]
    return torch.cat([block for block in blocks if block is not None])
