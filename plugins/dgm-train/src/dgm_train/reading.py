"""Reading recipes, and changing them from the command line."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmcore.config import parse, to_dict
from dgmcore.errors import OptionError, RegistryError, TrainingError
from dgmcore.suggestions import did_you_mean

from .recipe import PhaseRecipe, Recipe

__all__ = ["override", "read_recipe"]


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
        from dgmcore.files import yaml

        path = Path(recipe)
        if not os.path.isfile(path):
            raise TrainingError(f"there is no recipe {path}", _nearby(path))
        source = str(path)
        data = yaml.read(path)
        if not isinstance(data, dict):
            raise RegistryError(f"{source}: expected a mapping", "see docs/training.md for what a recipe has")
    if set:
        data = override(data, set)
    result = parse(Recipe, data, source=source)
    if not result.phases:
        raise RegistryError(f"{source}: phases: a recipe needs at least one phase", f"correct phases in {source}")
    for i, phase in enumerate(result.phases):
        _check(phase, f"{source}: phases.{i}")
    return result


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


def _check(phase: PhaseRecipe, where: str) -> None:
    def refuse(what: str, hint: str) -> None:
        raise RegistryError(f"{where}: {what}", hint)

    budgets = [k for k in ("steps", "epochs", "minutes") if getattr(phase, k) is not None]
    if len(budgets) != 1:
        refuse(f"{' and '.join(budgets) or 'no budget'} given", "give one of steps, epochs and minutes")
    if getattr(phase, budgets[0]) < 0:
        refuse(f"{budgets[0]} is negative", f"correct {budgets[0]}")
    if phase.batch_size < 1:
        refuse("batch_size must be at least 1", "correct batch_size")
    if phase.ema is not None and not 0 <= phase.ema < 1:
        refuse(f"ema must be at least 0 and below 1, not {phase.ema}", "a usual value is 0.999")
    if phase.schedule.name == "step" and not phase.schedule.every:
        refuse("schedule: step needs `every`", "set schedule.every to a number of steps")


def _nearby(path: Path) -> str:
    folder = path.parent
    names = [p.name for p in folder.glob("*.y*ml")] if os.path.isdir(folder) else []
    return did_you_mean(path.name, names, "check the path")
