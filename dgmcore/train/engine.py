"""The training engine: a recipe in, a registry entry out."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from ..config import to_dict
from ..errors import TrainingError
from . import checkpoint
from .building import build_model, open_training_data
from .finishing import write_entries
from .log import Log, hardware
from .processes import Processes
from .reading import read_recipe
from .recipe import Recipe
from .run import PhaseRun, Run, interruptible, read_checkpoint, write_checkpoint

__all__ = ["train"]

#: Keys of a recipe that may change when a run goes on.
_FREE = ("phases", "checkpoint_minutes", "checkpoint_steps", "samples_every", "validate_every", "threads")
_TEXT = ("summary", "license", "papers", "tags", "sampling")


def train(
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    set: Mapping[str, Any] | Sequence[str] | None = None,
    runs: str | os.PathLike[str] | None = None,
) -> Path:
    """Trains a model and writes it as a registry entry.

    The run lives in `runs/NAME`: checkpoints, `log.jsonl`, TensorBoard's files and pictures of samples.

    Arguments:
        recipe: A recipe's file, or a recipe.
        out: The folder of entries into which `NAME/` is written; by default `registry` in the run's folder.
        resume: Whether to go on with a run from its last checkpoint, if it has one.
        set: Changes of the recipe: nested, or as `["phases.0.steps=100"]`.
        runs: The folder of runs; by default `$DGM_RUNS`, else `runs` in the current folder.

    Returns:
        The folder of the entry.

    Raises:
        TrainingError: If a run of that name is there already and `resume` is false, if the loss is not finite
            or explodes, or if the run was stopped by Ctrl-C or SIGTERM (its checkpoint is then written).
    """

    if set is not None and not isinstance(set, Mapping):
        from ..output import parse_set

        set = parse_set(set)
    name = _source(recipe)
    recipe = read_recipe(recipe, set)
    folder = Path(runs or os.environ.get("DGM_RUNS") or "runs") / recipe.name
    out = Path(out) if out is not None else folder / "registry"
    threads = torch.get_num_threads()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda), interruptible() as stop:
        try:
            if recipe.threads is not None:
                torch.set_num_threads(recipe.threads)
            return _train(recipe, folder, out, resume, name, stop)
        finally:
            torch.set_num_threads(threads)


def _train(recipe: Recipe, folder: Path, out: Path, resume: bool, source: str | None, stop: Any) -> Path:
    processes = Processes()
    last = checkpoint.last_checkpoint(folder / "checkpoints")
    if not resume and (last is not None or (folder / "log.jsonl").exists()):
        raise TrainingError(f"there is a run in {folder} already", f"go on with --resume, or delete {folder}")
    model = build_model(recipe)
    data, validation = open_training_data(recipe, model)
    processes.barrier()  # all have looked at the folder before one writes
    if processes.main:
        _note_recipe(recipe, folder, last is not None)
    model.to(processes.device)
    run = Run(recipe, model, data, validation, folder, processes, None, stop)
    state = None if last is None else read_checkpoint(run, last)
    first = 0
    if state is not None:
        meta = state[1]
        first, run.seconds, run.steps, run.averaged = (
            meta["phase"],
            meta["run_seconds"],
            meta["run_steps"],
            meta["averaged"],
        )
    if processes.main:
        run.log = Log(folder, (first, state[1]["step"]) if state is not None else (0, -1))
    try:
        for number in range(first, len(recipe.phases)):
            going_on = state if state is not None and state[1]["step"] else None
            if state is not None and going_on is None:
                _load_weights(model, state[0])
            state = None
            PhaseRun(run, number, going_on).go()
            tensors = {f"model.{k}": v for k, v in checkpoint.state_of(model).items()}
            write_checkpoint(run, number + 1, 0, tensors, {"phase": number + 1, "step": 0})
        if state is not None:  # all phases were done already
            _load_weights(model, state[0])
    finally:
        if run.log is not None:
            run.log.close()
    entry = out / recipe.name
    if processes.main:
        description = {
            "dataset": recipe.data.dataset
            if not os.path.isabs(recipe.data.dataset)
            else Path(recipe.data.dataset).name,
            "event_shape": list(data.event_shape),
            "range": list(data.range) if data.range is not None else None,
            "levels": data.levels,
        }
        training = {
            "recipe": source,
            "seed": recipe.seed,
            "steps": run.steps,
            "hardware": hardware(processes.device) + (f" x {processes.world}" if processes.world > 1 else ""),
            "hours": round(run.seconds / 3600, 4),
        }
        model.to("cpu")
        write_entries(recipe, model, out, folder, description, training, run.averaged)
    processes.barrier()
    return entry


def _load_weights(model: torch.nn.Module, tensors: dict[str, Any]) -> None:
    weights = {k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")}
    checkpoint.load_into(model, weights, "the checkpoint")


def _note_recipe(recipe: Recipe, folder: Path, going_on: bool) -> None:
    """Keeps the recipe beside the run; a run that goes on must have kept what its weights depend on."""

    path = folder / "recipe.json"
    now = json.loads(json.dumps(to_dict(recipe)))
    if going_on and path.exists():
        before = json.loads(path.read_text(encoding="utf-8"))
        changed = [k for k in now if k not in (*_FREE, *_TEXT) and now[k] != before.get(k)]
        if changed:
            raise TrainingError(
                f"the run in {folder} had another {changed[0]} in its recipe", f"change it back, or delete {folder}"
            )
    folder.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(now, indent=2), encoding="utf-8")
    os.replace(temporary, path)


def _source(recipe: Any) -> str | None:
    """Returns how an entry names its recipe: a relative path as it was given, of an absolute one the name."""

    if isinstance(recipe, Recipe | Mapping):
        return None
    path = Path(recipe)
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else Path(path.name)
    return path.as_posix()
