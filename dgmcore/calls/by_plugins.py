"""Calls of `dgmcore` whose work plugins do: `train`, `evaluate`, `push` and `given`.

The signatures are the core's; the functions behind them are found by the hook `dgm_calls`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..plugins import call, current
from ..suggestions import PACKAGES

if TYPE_CHECKING:
    from ..entry import Metric
    from ..model import Model

__all__ = ["evaluate", "given", "lacking", "push", "train"]


def train(
    recipe: str | os.PathLike[str] | Mapping[str, Any],
    data: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    set: Mapping[str, Any] | Sequence[str] | None = None,
    runs: str | os.PathLike[str] | None = None,
) -> Path:
    """Trains a model and writes it as a registry entry; the work of the plugin dgm-train.

    The run lives in `runs/NAME`: checkpoints, `log.jsonl`, TensorBoard's files and pictures of samples.

    Arguments:
        recipe: A recipe's file, or a recipe; with `data`, the name of an architecture.
        data: Data of your own, such as a folder of pictures; the settings are those that the architecture has for them.
        out: The folder of entries into which `NAME/` is written; by default `registry` in the run's folder.
        resume: Whether to go on with a run from its last checkpoint, if it has one.
        set: Changes of the recipe: nested, or as `["phases.0.steps=100"]`.
        runs: The folder of runs; by default `$DGM_RUNS`, else `runs` in the current folder.

    Returns:
        The folder of the entry.

    Raises:
        PluginError: If no plugin trains.
        TrainingError: If the run can't be made, or does not end well.
    """
    return Path(call("train")(recipe, data, out=out, resume=resume, set=set, runs=runs))


def evaluate(
    model: Model | str | os.PathLike[str], metrics: str | Sequence[str] | None = None, n: int | None = None, **how: Any
) -> list[Metric]:
    """Measures a model; the work of the plugin dgm-eval.

    Arguments:
        model: A loaded model, or a name that :func:`dgmcore.load` accepts.
        metrics: Names of metrics, or one; None takes those that fit the model and its data.
        n: The number of samples, and of real data at most.
        how: The rest of the protocol: `against` (the real data), `features` (an entry), `ood` (other data), `seed`,
            `batch_size`, `device`, `command`, `progress` and options of the model, as `dgm_eval.evaluate` says.

    Returns:
        Records, each with its whole protocol.

    Raises:
        PluginError: If no plugin evaluates.
    """
    records: list[Metric] = call("evaluate")(model, metrics, n, **how)
    return records


def push(name: str, repo: str, *, dry_run: bool = False) -> Any:
    """Publishes an entry on the Hub: weights, card, samples, licence and parts; the work of the plugin dgm-publish.

    Arguments:
        name: The model, as for :func:`dgmcore.load`.
        repo: The repository, `USER/REPO`; made if it does not exist.
        dry_run: Only find out what would be published; nothing is sent.

    Returns:
        The files and the card, as `repo, url, files, card, commit, changed`.

    Raises:
        PluginError: If no plugin publishes.
        DgmError: If the entry is not complete, or the Hub refuses; then nothing is published.
    """
    return call("push")(name, repo, dry_run=dry_run)


def given(model: Model, *seen: Any, tilt: Sequence[tuple[Model, float]] = (), **options: Any) -> Model:
    """Returns a model under observations and critics: a generator of its posterior; the work of the plugin dgm-given.

    Arguments:
        model: A pushforward, a tilted model, or a denoising diffusion.
        seen: Observations (`dgm_given.Observation`), or texts such as `x0=0.5`, `label=3`, `picture.png`.
        tilt: Further critics, each with its weight.
        options: What goes with texts: sequences `operator`, `mask`, `sigma`.

    Raises:
        PluginError: If the plugin is not installed.
        UsageError: If the model can't be asked, or what is given does not fit it.
    """
    asked: Model = call("given")(model, *seen, tilt=tilt, options=options)
    return asked


def lacking() -> dict[str, list[str]]:
    """Returns the distributions that are not here, and what each would bring: calls of the core, and architectures
    of entries, which say what brings them."""
    index = current.index()
    here = {plugin.source.distribution for plugin in index.plugins}
    known = {**index.provided.calls, **index.provided.commands, **index.provided.architectures}
    brought = [*PACKAGES.items(), *((e.architecture, e.package) for e in (row.entry() for row in index.rows))]
    found: dict[str, dict[str, None]] = {}
    for name, package in brought:
        if package and package not in here and name not in known:
            found.setdefault(package, {})[name] = None
    return {package: list(what) for package, what in sorted(found.items())}
