"""The training engine: a recipe in, a registry entry out."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any

import msgspec
import torch

from dgmcore.cli.set_options import parse_set
from dgmcore.data import open_data
from dgmcore.data.open import require_path
from dgmcore.entry import Training
from dgmcore.errors import OptionError, TrainingError

from .build import build_model, check_fits, open_validation, seen, with_shape
from .interrupt import asked_to_stop
from .loop.checkpoint import last_checkpoint, read_shared
from .loop.log import Log
from .loop.progress import NOISE, Totals
from .loop.run import PhaseRun
from .loop.state import Run
from .parallel.distributed import Processes, hardware
from .recipe import Recipe, read_recipe
from .results.digests import made_of
from .results.entries import first_entry, write_entries
from .run_folder import RunFolder
from .starter import first_recipe

__all__ = ["train"]


def train(
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str],
    data: str | os.PathLike[str] | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    resume: bool = False,
    set: Mapping[str, Any] | Sequence[str] | None = None,
    runs: str | os.PathLike[str] | None = None,
) -> Path:
    """Trains a model and writes it as a registry entry.

    The run lives in `runs/NAME`: checkpoints, `log.jsonl`, TensorBoard's files and pictures of samples.

    Arguments:
        recipe: A recipe's file, or a recipe; with `data`, the name of an architecture.
        data: Data of your own, on which the architecture is trained as :func:`~dgm_train.starter.first_recipe` says.
        out: The folder of entries into which `NAME/` is written; by default `registry` in the run's folder.
            Parts with a name of their own (`save_as`) are written beside `NAME/`, without `out` into `NAME/parts/`.
        resume: Whether to go on with a run from its last checkpoint, if it has one.
        set: Changes of the recipe: nested, or as `["phases.0.steps=100"]`.
        runs: The folder of runs; by default `$DGM_RUNS`, else `runs` in the current folder.

    Returns:
        The folder of the entry.

    Raises:
        TrainingError: If a run of that name is there already and `resume` is false, if the loss is not finite
            or explodes, or if the run was stopped by Ctrl-C, SIGTERM or SIGHUP (its checkpoint is then written).
    """

    for value, what in ((recipe, "a recipe"), (data, "the data"), (out, "out"), (runs, "runs")):
        if not isinstance(value, Recipe | Mapping) and (value is not None or what == "a recipe"):
            require_path(value, what)
    if not isinstance(set, Mapping | Sequence | None):
        raise OptionError(f"set can't be {set!r:.60}", "give changes as ['seed=1']")
    changes = parse_set([set] if isinstance(set, str) else set) if isinstance(set, Sequence) else set
    if data is not None:
        recipe = first_recipe(str(recipe), data)
    source = _source(recipe)
    recipe = read_recipe(recipe, changes)
    folder = RunFolder(Path(runs or os.environ.get("DGM_RUNS") or "runs") / recipe.name)
    registry = Path(out) if out is not None else folder.path / "registry"
    # in a registry parts lie beside the model; a folder of its own carries them
    parts = registry if out is not None else registry / recipe.name / "parts"
    with _torch_as_before(recipe.threads):
        processes = Processes()
        with folder.alone() if processes.main else nullcontext():
            run, totals = _train(recipe, folder, processes, resume)
            if processes.main:
                training = Training(
                    recipe=source,
                    seed=recipe.seed,
                    steps=totals.steps,
                    hardware=hardware(processes.device) + (f" x {processes.world}" if processes.world > 1 else ""),
                    hours=round(totals.seconds / 3600, 4),
                    made=made_of(recipe, run.data),
                    notes="; ".join(totals.legs) or None,
                )
                write_entries(recipe, run.model.to("cpu"), registry, parts, folder.path, training, totals.averaged)
            processes.barrier()
    return registry / recipe.name


def _train(recipe: Recipe, folder: RunFolder, processes: Processes, resume: bool) -> tuple[Run, Totals]:
    """Trains all phases that are not done."""

    processes.check_equal("recipes", msgspec.json.encode(recipe))
    last = last_checkpoint(folder.checkpoints)
    if last is not None and not resume:
        raise TrainingError(f"there is a run in {folder.path} already", f"go on with --resume, or delete {folder.path}")
    processes.barrier()  # all have looked at the folder before one writes
    data = open_data(recipe.data)
    recipe = with_shape(recipe, data.event_shape)
    if last is not None:
        folder.check_same(recipe, seen(data))
    model = build_model(recipe)
    check_fits(recipe, recipe.data, data, model)  # before data are read that nothing could hold
    validation = open_validation(recipe, model)
    model.to(processes.device).entry = first_entry(recipe, data)
    run = Run(recipe, model, data, validation, folder, processes)
    saved = None if last is None else read_shared(last, processes)
    first, totals = (0, Totals(noise=NOISE)) if saved is None else (saved.progress.phase, saved.progress.run)
    model.noise_version = totals.noise
    if saved is not None and (changed := folder.changed(recipe, first)):
        totals.legs.append(f"went on at step {totals.steps + saved.progress.step:,} with other {', '.join(changed)}")
    if first >= len(recipe.phases):
        raise TrainingError(f"the run in {folder.path} had more phases", f"delete {folder.path} to train anew")
    with ExitStack() as stack, asked_to_stop() as run.stop:
        for number in range(first, len(recipe.phases)):
            phase = PhaseRun(run, number, totals, saved)
            if number == first and processes.main:  # nothing is written before it is clear that the run can go on
                folder.keep_recipe(recipe, seen(data))
                resume_at = None if saved is None else (saved.progress.phase, saved.progress.step)
                run.log = stack.enter_context(closing(Log(folder.path, resume_at)))
            totals, saved = phase.train(), None
    return run, totals


@contextmanager
def _torch_as_before(threads: int | None) -> Iterator[None]:
    """Sets the number of threads, and gives back that number and the random state.

    What else a program has set, such as autocast, another default device or type, or no gradients, does not count.
    """

    before, dtype = torch.get_num_threads(), torch.get_default_dtype()
    cuda = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    home = torch.device("cpu") if torch.get_default_device().type != "cpu" else nullcontext()
    exact = torch.autocast("cuda" if cuda else "cpu", enabled=False)
    with torch.random.fork_rng(devices=cuda), torch.inference_mode(False), torch.enable_grad(), exact, home:
        try:
            torch.set_default_dtype(torch.float32)
            if threads is not None:
                torch.set_num_threads(threads)
            yield
        finally:
            torch.set_num_threads(before)
            torch.set_default_dtype(dtype)


def _source(recipe: Any) -> str | None:
    """Returns how an entry names its recipe: a relative path as it was given, of an absolute one the name."""

    if isinstance(recipe, Recipe | Mapping):
        return None
    path = Path(recipe)
    if path.is_absolute():
        here = Path.cwd()
        path = path.relative_to(here) if path.is_relative_to(here) else Path(path.name)
    return path.as_posix()
