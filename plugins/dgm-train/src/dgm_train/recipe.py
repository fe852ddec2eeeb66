"""Recipes: what `dgm train` reads, how it is changed from the command line, and what is refused in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta

from dgmcore.config import Config, NonNegative, Positive, parse, to_dict
from dgmcore.data.spec import DataSpec
from dgmcore.entry import Name, Paper
from dgmcore.errors import OptionError, RegistryError, TrainingError
from dgmcore.files import yaml
from dgmcore.suggestions import did_you_mean

__all__ = [
    "MAX_STEPS",
    "SCHEMA",
    "Optimizer",
    "PartRecipe",
    "PhaseRecipe",
    "Recipe",
    "Schedule",
    "override",
    "read_recipe",
]

SCHEMA = 1
MAX_STEPS = 999_999_999  # what the names of checkpoints have digits for
MAX_PHASES = 99

Steps = Annotated[int, Meta(ge=1, le=MAX_STEPS)]
Decay = Annotated[float, Meta(ge=0, lt=1)]
Bound = Annotated[float, Meta(gt=0, le=1e30)]


class Optimizer(Config):
    """An optimiser of torch.optim by name, with its arguments."""

    name: Literal["adam", "adamw", "adamax", "rmsprop", "sgd"] = "adam"
    lr: Positive = 1e-3
    betas: tuple[Decay, Decay] | None = None
    eps: NonNegative | None = None
    weight_decay: NonNegative = 0.0
    momentum: Decay | None = None


class Schedule(Config):
    """Learning rate: `warmup` linear steps, then constant, cosine to `final`, or by factors at milestones."""

    name: Literal["constant", "cosine", "linear", "step"] = "constant"
    warmup: Annotated[int, Meta(ge=0, le=MAX_STEPS)] = 0
    final: NonNegative = 0.0  # absolute learning rate at the end of cosine and linear
    every: Steps | None = None  # step: multiply by `factor` every so many steps
    factor: Annotated[float, Meta(gt=0, le=1)] = 0.5


class PhaseRecipe(Config):
    """One phase: which of the architecture's phases, its options, and its budget."""

    phase: str
    options: dict[str, Any] = {}
    batch_size: Annotated[int, Meta(ge=1, le=1 << 20)] = 128
    steps: Steps | None = None  # one of steps, epochs and minutes
    epochs: Annotated[float, Meta(gt=0, le=MAX_STEPS)] | None = None
    minutes: Positive | None = None
    optimizer: Optimizer = Optimizer()
    optimizers: dict[str, Optimizer] = {}  # for phases with several, by name; others take `optimizer`
    schedule: Schedule = Schedule()
    clip_norm: Bound | None = None
    clip_value: Bound | None = None
    ema: Decay | None = None  # decay; None: no average
    ema_from: Annotated[int, Meta(ge=0, le=MAX_STEPS)] = 0  # first averaged step
    keep: Literal["last", "best"] = "last"  # at the end: the last weights, or the best by validation
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False


class PartRecipe(Config):
    """A part that is trained here; `save_as` makes it an entry of its own."""

    architecture: str
    config: dict[str, Any] = {}
    parts: dict[str, str | PartRecipe] = {}
    init: str | None = None  # an entry whose weights it starts from
    save_as: Name | None = None


class Recipe(Config):
    """A training run from data to a registry entry."""

    schema: int
    name: Name
    architecture: str
    data: DataSpec
    phases: tuple[PhaseRecipe, ...]
    license: str
    summary: str = ""
    config: dict[str, Any] = {}
    parts: dict[str, str | PartRecipe] = {}
    init: str | None = None  # an entry whose weights the model starts from
    seed: Annotated[int, Meta(ge=0, le=(1 << 63) - 1)] = 0
    threads: Annotated[int, Meta(ge=1, le=1024)] | None = None
    checkpoint_minutes: NonNegative = 2.0
    checkpoint_steps: Steps | None = None
    samples_every: Steps | None = None  # a grid of samples every so many steps
    validate_every: Steps | None = None
    validation: DataSpec | None = None
    sampling: dict[str, Any] = {}
    stored_as: Literal["float16", "bfloat16"] | None = None  # the file's numbers; None: as they were trained
    papers: tuple[Paper, ...] = ()
    tags: tuple[str, ...] = ()


def read_recipe(
    recipe: Recipe | Mapping[str, Any] | str | os.PathLike[str], set: Mapping[str, Any] | None = None
) -> Recipe:
    """Returns the recipe in a file (or in plain data), changed by `set` and checked.

    Raises:
        DgmError: With the file, the key path, what was expected and the nearest key.
    """

    source = "recipe"
    if isinstance(recipe, Recipe):
        data = to_dict(recipe)
    elif isinstance(recipe, Mapping):
        data = dict(recipe)
    else:
        source, data = str(recipe), _read(Path(recipe))
    if set:
        data = override(data, set)
    result = parse(Recipe, data, source=source)
    for what, hint in _faults(result):
        raise RegistryError(f"{source}: {what}", hint)
    return result


def _read(path: Path) -> dict[str, Any]:
    if not os.path.isfile(path):
        names = [p.name for p in path.parent.glob("*.y*ml")] if os.path.isdir(path.parent) else []
        raise TrainingError(f"there is no recipe {path}", did_you_mean(path.name, names, "check the path"))
    data = yaml.read(path)
    if not isinstance(data, dict):
        raise RegistryError(f"{path}: expected a mapping", "see docs/training.md for what a recipe has")
    return data


# --- changes from the command line -----------------------------------------------------------------


def override(data: Any, changes: Mapping[str, Any], path: str = "") -> Any:
    """Returns plain data with some values replaced; a list's elements are named by their numbers.

    Example:
        >>> override({"phases": [{"steps": 5}], "seed": 0}, {"phases": {"0": {"steps": 9}}})
        {'phases': [{'steps': 9}], 'seed': 0}
    """

    if isinstance(data, list | tuple):
        result: Any = list(data)
        for key, value in changes.items():
            if not key.isdecimal() or int(key) >= len(result):
                raise OptionError(f"--set {path}.{key}: {path} has {len(result)} elements", "count them from 0")
            result[int(key)] = _replaced(result[int(key)], value, f"{path}.{key}")
        return result
    result = dict(data)
    for key, value in changes.items():
        result[key] = _replaced(result.get(key), value, f"{path}.{key}" if path else key)
    return result


def _replaced(old: Any, new: Any, path: str) -> Any:
    if isinstance(new, Mapping) and isinstance(old, Mapping | list | tuple):
        return override(old, new, path)
    return new


# --- what the types can't say ----------------------------------------------------------------------


def _faults(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Yields what is wrong with a recipe, and what to do about it."""

    if recipe.schema != SCHEMA:
        yield f"schema: {recipe.schema} is not known here, this dgm-train reads {SCHEMA}", f"write schema: {SCHEMA}"
    if not recipe.phases:
        yield "phases: a recipe needs at least one phase", "add one: - {phase: NAME, steps: 1000}"
    if len(recipe.phases) > MAX_PHASES:
        yield f"phases: {len(recipe.phases)} are more than {MAX_PHASES}", "train in several runs, from init"
    for key, spec in (("data", recipe.data), ("validation", recipe.validation)):
        if spec is not None and spec.levels is not None and spec.levels < 2:
            yield f"{key}.levels: {spec.levels} are not enough to tell data apart", "images of bytes have 256"
    if recipe.validation is not None and not recipe.validate_every:
        yield "validation: nothing is ever validated", "set validate_every to a number of steps, or drop validation"
    for i, phase in enumerate(recipe.phases):
        for what, hint in (*_phase_faults(phase, recipe), *_without_effect(phase)):
            yield f"phases.{i}: {what}", hint


def _phase_faults(phase: PhaseRecipe, recipe: Recipe) -> Iterator[tuple[str, str]]:
    budgets = [k for k in ("steps", "epochs", "minutes") if getattr(phase, k) is not None]
    if len(budgets) != 1:
        yield f"{' and '.join(budgets) or 'no budget'} given", "give one of steps, epochs and minutes"
    if phase.schedule.name == "step" and not phase.schedule.every:
        yield "schedule: step needs `every`", "set schedule.every to a number of steps"
    if phase.keep == "best" and not recipe.validate_every:
        yield "keep: best needs validations to choose by", "set validate_every to a number of steps"
    if phase.keep == "best" and (phase.steps or MAX_STEPS) < (recipe.validate_every or 0):
        yield f"keep: best, but validate_every is more than all {phase.steps} steps", "set a smaller validate_every"


def _without_effect(phase: PhaseRecipe) -> Iterator[tuple[str, str]]:
    """Yields what a phase says that nothing would look at, and what to do about it."""

    schedule = phase.schedule
    if schedule.final and schedule.name not in ("cosine", "linear"):
        yield f"schedule: a {schedule.name} one goes down to no `final`", "set schedule.name: cosine, or drop final"
    if schedule.name != "step" and (schedule.every is not None or schedule.factor != Schedule().factor):
        yield f"schedule: a {schedule.name} one has no factor", "set schedule.name: step, or drop every and factor"
    if phase.ema_from and phase.ema is None:
        yield "ema_from, but no average is wanted", "set ema to a decay, as 0.999, or drop ema_from"
