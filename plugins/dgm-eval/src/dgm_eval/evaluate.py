"""`evaluate`: the one call behind `dgm eval`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from dgmcore import console, plugins
from dgmcore.data.open import require_path
from dgmcore.entry import Metric
from dgmcore.errors import PluginError, UsageError
from dgmcore.evaluation.metric import Marked, Requirements
from dgmcore.sampling.processes import joined
from dgmcore.sampling.settings import as_model, model_name, together, undisturbed
from dgmcore.suggestions import did_you_mean

from .run import Evaluation, Progress
from .sources.given import given, is_samples

if TYPE_CHECKING:
    import torch

    from dgmcore.model import Model

__all__ = ["evaluate"]


def evaluate(
    model: Model | str | os.PathLike[str],
    metrics: str | Sequence[str] | None = None,
    n: int | None = None,
    *,
    against: str | os.PathLike[str] | None = None,
    features: str | None = None,
    ood: str | os.PathLike[str] | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    command: str | None = None,
    progress: Progress | None = None,
    options: Mapping[str, Any] | None = None,
    **named: Any,
) -> list[Metric]:
    """Measures a model. Samples stream through; only features stay in memory.

    Under `torchrun` the samples are shared among the processes, and each returns the whole result.

    Arguments:
        model: A loaded model, a name that :func:`dgmcore.load` accepts, or samples in a file or folder.
        metrics: Names of metrics (see `dgm eval --help`), or one; None takes those that fit the model and its data.
        n: The number of samples, and of real data at most; None takes 10,000 (4,000 for the energy
            distance, whose cost is quadratic) and all real data where the model judges them.
        against: The real data; None is the test split of the model's data set.
        features: An entry with features; None takes the one registered for the data set.
        ood: Data out of distribution, for `ood-auroc`.
        seed: Of the samples, and of the choice of real data.
        batch_size: The number of samples drawn at once.
        device: Where the model runs.
        command: What goes into the records as the command.
        progress: Called as `progress(label, total)`; a context manager that yields `advance(k)`. None shows it in
            notebooks.
        options: Options of the model's sampling or scoring.
        named: The same, by name.

    Returns:
        Records, each with its whole protocol.

    Raises:
        UsageError: If a metric is unknown or does not fit, or a number is out of range.
        OptionError: For an option that the model does not know.
        NotFiniteError: If what was measured is not finite.

    Example:
        >>> evaluate("vae-fashion", ["fid"], n=10_000)  # doctest: +SKIP
        [Metric(name='fid', value=..., n=10000, n_real=10000, features='lenet-fashion', ...)]
    """

    reals = None if against is None else require_path(against, "against")
    run = Evaluation(
        given(model, reals, seed) if is_samples(model) else as_model(model, device),
        n=n,
        against=reals,
        features=features,
        ood=None if ood is None else require_path(ood, "ood"),
        seed=seed,
        batch_size=batch_size,
        options=together(options, named),
        command=command,
        progress=progress or partial(console.progress, cell=True),
    )
    names = [metrics] if isinstance(metrics, str) else metrics
    chosen = _named(run, names) if names else _fitting(run)
    run.expect(function.requirements for function in chosen.values())
    records: list[Metric] = []
    asked = {"metrics": list(chosen), "n": n, "seed": seed, "batch size": batch_size, "options": run.sampling}
    with undisturbed(run.model), joined(model=model_name(run.model), against=run.against, **asked):
        for function in chosen.values():
            found = function(run)
            records += [found] if isinstance(found, Metric) else found
    return records


def _named(run: Evaluation, names: Sequence[str]) -> dict[str, Marked]:
    """Returns the metrics asked for; the model must be able to do what they need."""
    chosen = {}
    for name in names:
        function = _load(name)
        lacking = [c for c in function.requirements.can if not run.model.can(c)]
        if lacking:
            raise UsageError(
                f"{name} is for models with the capability {lacking[0]}, which {run.entry.name} lacks",
                f"it has: {', '.join(run.model.capabilities) or 'none'}",
            )
        chosen[name] = function
    return chosen


def _fitting(run: Evaluation) -> dict[str, Marked]:
    """Returns the metrics that fit the model's capabilities and its data."""
    chosen = {}
    for name in plugins.metrics():
        function = _load(name)
        needs = function.requirements
        if all(run.model.can(c) for c in needs.can) and needs.applies(run):
            chosen[name] = function
    if not chosen:
        raise UsageError(f"no metric fits {run.entry.name}", "name one with --metric")
    return chosen


def _load(name: str) -> Marked:
    known = plugins.metrics()
    if require_path(name, "a metric") not in known:
        raise UsageError(f"no metric is called {name}", did_you_mean(name, known))
    record = known[name]
    try:
        function = plugins.import_string(record.import_)
    except ImportError as e:
        raise PluginError(f"plugin {record.plugin}: metric {name} can't be imported: {e}", "see `dgm plugins`") from e
    if not isinstance(getattr(function, "requirements", None), Requirements):
        raise PluginError(
            f"plugin {record.plugin}: {record.import_} is no metric", "mark it with @dgmcore.evaluation.metric()"
        )
    marked: Marked = function
    return marked
