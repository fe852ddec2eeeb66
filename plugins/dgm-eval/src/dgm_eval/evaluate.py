"""`evaluate`: the one call behind `dgm eval`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

from dgmcore.entry import Metric
from dgmcore.errors import PluginError, UsageError
from dgmcore.evaluation.metric import Requirements
from dgmcore.sampling.parallel import group, here
from dgmcore.suggestions import did_you_mean

from .run import Run

if TYPE_CHECKING:
    import os

    import torch

    from dgmcore.model import Model

__all__ = ["evaluate"]


def evaluate(
    model: Model | str | os.PathLike[str],
    metrics: Sequence[str] | None = None,
    n: int | None = None,
    *,
    against: str | None = None,
    features: str | None = None,
    ood: str | None = None,
    seed: int = 0,
    batch_size: int | None = None,
    device: torch.device | str | None = None,
    command: str | None = None,
    progress: Callable[..., Any] | None = None,
    **options: Any,
) -> list[Metric]:
    """Measures a model. Samples stream through; only features stay in memory.

    Under `torchrun` the samples are shared among the processes, and each returns the whole result.

    Arguments:
        model: A loaded model, or a name that :func:`dgmcore.load` accepts.
        metrics: Names of metrics (see `dgm eval --help`); None takes those that fit the model and its data.
        n: The number of samples, and of real data at most; None takes 10,000 (4,000 for the energy
            distance, whose cost is quadratic) and all real data where the model judges them.
        against: The real data; None is the test split of the model's data set.
        features: An entry with features; None takes the one registered for the data set.
        ood: Data out of distribution, for `ood-auroc`.
        seed: Of the samples, and of the choice of real data.
        batch_size: The number of samples drawn at once.
        device: Where the model runs.
        command: What goes into the records as the command.
        progress: Called as `progress(label, total)`; a context manager that yields `advance(k)`.
        options: Options of the model's sampling or scoring.

    Returns:
        Records, each with its whole protocol.

    Example:
        >>> evaluate("vae-fashion", ["fid"], n=10_000)  # doctest: +SKIP
        [Metric(name='fid', value=..., n=10000, n_real=10000, features='lenet-fashion', ...)]
    """

    from dgmcore.sampling.draw import as_model

    model = as_model(model, device)
    run = Run(
        model,
        n=n,
        against=against,
        features=features,
        ood=ood,
        seed=seed,
        batch_size=batch_size,
        options=options,
        command=command,
        progress=progress,
    )
    chosen = _named(run, metrics) if metrics else _fitting(run)
    for function in chosen.values():
        for view, most in function.requirements.views.items():
            before = run.wanted.get(view, most)
            run.wanted[view] = None if most is None or before is None else max(before, most)
    records: list[Metric] = []
    with group() if here().world > 1 else nullcontext():
        for function in chosen.values():
            found = function(run)
            records += [found] if isinstance(found, Metric) else found
    return records


def _named(run: Run, names: Sequence[str]) -> dict[str, Callable[[Run], Any]]:
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


def _fitting(run: Run) -> dict[str, Callable[[Run], Any]]:
    """Returns the metrics that fit the model's capabilities and its data."""
    from dgmcore import plugins

    chosen = {}
    for name in plugins.metrics():
        function = _load(name)
        needs = function.requirements
        if all(run.model.can(c) for c in needs.can) and needs.applies(run):
            chosen[name] = function
    if not chosen:
        raise UsageError(f"no metric fits {run.entry.name}", "name one with --metric")
    return chosen


def _load(name: str) -> Callable[[Run], Any]:
    from dgmcore import plugins

    known = plugins.metrics()
    if name not in known:
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
    return function
