"""The training engine: a recipe in, a registry entry out."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dgmcore.config import to_dict
from dgmcore.errors import TrainingError

from .build import build_model, open_training_data
from .finish import first_entry, write_entries
from .loop import checkpoint
from .loop.distributed import Processes
from .loop.log import Log, hardware
from .loop.run import PhaseRun, Run
from .reading import read_recipe
from .recipe import Recipe

__all__ = ["train"]

#: Keys of a recipe that can't change when a run goes on.
_FIXED = ("architecture", "config", "parts", "init", "data", "seed")


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
            Parts with a name of their own (`save_as`) are written beside `NAME/`, without `out` into `NAME/parts/`.
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
        from dgmcore.cli.set_options import parse_set

        set = parse_set(set)
    source = _source(recipe)
    recipe = read_recipe(recipe, set)
    folder = Path(runs or os.environ.get("DGM_RUNS") or "runs") / recipe.name
    registry = Path(out) if out is not None else folder / "registry"
    # in a registry parts lie beside the model; a folder of its own carries them
    parts = registry if out is not None else registry / recipe.name / "parts"
    threads = torch.get_num_threads()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=cuda):
        try:
            if recipe.threads is not None:
                torch.set_num_threads(recipe.threads)
            return _train(recipe, folder, registry, parts, resume, source)
        finally:
            torch.set_num_threads(threads)


def _train(recipe: Recipe, folder: Path, out: Path, parts: Path, resume: bool, source: str | None) -> Path:
    processes = Processes()
    with _alone(folder, processes):
        last = checkpoint.last_checkpoint(folder / "checkpoints")
        if last is not None and not resume:
            raise TrainingError(f"there is a run in {folder} already", f"go on with --resume, or delete {folder}")
        processes.barrier()  # all have looked at the folder before one writes
        if last is not None:
            _check_same(recipe, folder)
        model = build_model(recipe)
        data, validation = open_training_data(recipe, model)
        model.to(processes.device).entry = first_entry(recipe, data)
        run = Run(recipe, model, data, validation, folder, processes)
        state = None if last is None else checkpoint.read_shared(last, processes)
        first = 0
        if state is not None:
            first, before = state[1]["phase"], state[1].get("run", {})
            run.seconds, run.steps = before.get("seconds", 0.0), before.get("steps", 0)
            run.averaged = before.get("averaged", {})
            if first >= len(recipe.phases):
                raise TrainingError(f"the run in {folder} had more phases", f"delete {folder} to train anew")
        if processes.main:
            _note(recipe, folder)
            run.log = Log(folder, (first, state[1]["step"]) if state is not None else None)
        try:
            with _interruptible() as run.stop:
                for number in range(first, len(recipe.phases)):
                    PhaseRun(run, number, state).go()
                    state = None
        finally:
            if run.log is not None:
                run.log.close()
        if processes.main:
            _write(run, out, parts, source)
        processes.barrier()
    return out / recipe.name


def _write(run: Run, out: Path, parts: Path, source: str | None) -> None:
    """Writes the entries."""

    recipe, processes = run.recipe, run.processes
    training = {
        "recipe": source,
        "seed": recipe.seed,
        "steps": run.steps,
        "hardware": hardware(processes.device) + (f" x {processes.world}" if processes.world > 1 else ""),
        "hours": round(run.seconds / 3600, 4),
    }
    write_entries(recipe, run.model.to("cpu"), out, run.folder, training, run.averaged, parts)


@contextmanager
def _alone(folder: Path, processes: Processes) -> Iterator[None]:
    """Holds the run's lock, which the system takes back from killed processes."""

    try:
        import fcntl
    except ImportError:  # a system without such locks
        yield
        return
    if not processes.main:
        yield
        return
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise TrainingError(
                f"another process trains in {folder}", "wait for it, or give the recipe another name"
            ) from None
        yield


@contextmanager
def _interruptible() -> Iterator[threading.Event]:
    """Yields an event that Ctrl-C and SIGTERM set; a second one interrupts at once."""

    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def _note(recipe: Recipe, folder: Path) -> None:
    """Keeps the recipe beside the run."""

    temporary = folder / "recipe.tmp"
    temporary.write_text(json.dumps(to_dict(recipe), indent=2), encoding="utf-8")
    os.replace(temporary, folder / "recipe.json")


def _check_same(recipe: Recipe, folder: Path) -> None:
    """A run that goes on must have kept what its weights depend on."""

    try:
        before = json.loads((folder / "recipe.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    now = json.loads(json.dumps(to_dict(recipe)))
    changed = [key for key in _FIXED if now[key] != before.get(key)]
    if changed:
        raise TrainingError(
            f"the run in {folder} has another {changed[0]} in its recipe", f"change it back, or delete {folder}"
        )


def _source(recipe: Any) -> str | None:
    """Returns how an entry names its recipe: a relative path as it was given, of an absolute one the name."""

    if isinstance(recipe, Recipe | Mapping):
        return None
    path = Path(recipe)
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else Path(path.name)
    return path.as_posix()
