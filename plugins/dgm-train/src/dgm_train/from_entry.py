"""A recipe for data of one's own, made of an entry: its architecture, its config and what its training was."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dgmcore import plugins
from dgmcore.config import to_dict
from dgmcore.data import open_data
from dgmcore.data.spec import DataSpec
from dgmcore.errors import TrainingError, UsageError
from dgmcore.plugins.imports import import_string
from dgmcore.registry.find import Located, find
from dgmcore.training import starter

from .recipe import SCHEMA, Recipe, read_recipe
from .starter import MINUTES, UNSTATED, name_for, opened, usual_phase

__all__ = ["like_entry", "recipe_from"]

#: Options of phases that make weights ready which nobody has trained yet, and what they are for weights that are.
_READY = {"warmup": 0.0, "initial": 0, "init_batches": 0, "generator_from": None}
_SLOWER = 0.3  # the learning rate of a finetuning, of the training's
_EMA = 0.99  # an average over more than a hundred steps would be mostly of the weights from before
_SAMPLES_EVERY = 100
_WARMUP = 50  # steps: minutes on few data have hundreds, where recipes have thousands
_OF_DATA = ("levels", "flip", "dequantize")  # what a recipe does to data of whatever set


def recipe_from(
    model: str | os.PathLike[str],
    data: str | os.PathLike[str],
    *,
    finetune: bool,
    name: str | None = None,
    minutes: float = MINUTES,
) -> dict[str, Any]:
    """Returns a recipe that trains a model as another was trained, but on these data.

    The phases are those of the other's recipe where that is at hand (a shipped model's, or that of a run), else what
    its architecture says of a first training. Pictures are cut and resized to those of the model.

    Arguments:
        model: An entry, a folder, or a repository on the Hub, as for :func:`dgmcore.load`.
        data: Pictures of any sizes, or another kind of data, as for :func:`dgmcore.data.open_data`.
        finetune: Whether to start from the model's weights, and train the last phase only, at a lower rate.
        name: The new entry's name; by default made of the model's and the data's.
        minutes: How long to train.

    Raises:
        DgmError: If there is no such model, if the data do not fit it, or if nothing says how it is trained.
    """

    located = find(model)
    entry, own, dataset = located.entry, _recipe_of(located), os.fspath(data)
    phases = [to_dict(phase) for phase in own.phases] if own is not None else _first_phases(located)
    if finetune:
        phases = phases[-1:]
    spec, size = _data(located, own, dataset)
    shares = _shares(phases)
    parts = entry.parts if own is None else own.parts
    name = name or name_for(entry.name, dataset)
    made = {
        "schema": SCHEMA,
        "name": name,
        "architecture": entry.architecture,
        "config": entry.config,
        "parts": _parts(to_dict(parts), name),
        "data": spec,
        "phases": [_phase(phase, minutes * share, size) for phase, share in zip(phases, shares, strict=True)],
        "sampling": entry.sampling,
        "samples_every": _SAMPLES_EVERY,
        "license": UNSTATED,
        "summary": f"{entry.architecture}, as {entry.name}, on {Path(dataset).name}",
        "papers": [to_dict(paper) for paper in entry.papers],
    }
    if finetune:
        made["phases"] = [_gentle(phase, entry.architecture) for phase in made["phases"]]
        made |= {"init": os.fspath(model), "license": entry.license}
        made["summary"] = f"{entry.name}, finetuned on {Path(dataset).name}"
    return made


def like_entry(model: str, data: Sequence[str], size: int | None, **given: Any) -> dict[str, Any]:
    """Returns what `dgm train --like` asks to train.

    Raises:
        DgmError: If there is not exactly one name of data.
    """

    if len(data) != 1:
        raise UsageError(f"--like {model} wants one name of data, not {len(data)}", f"dgm train --like {model} DATA")
    if size is not None:
        raise UsageError("--size is for an architecture: pictures get the size of the entry's", "leave out --size")
    given = {key: value for key, value in given.items() if value is not None}
    return recipe_from(model, data[0], finetune=False, **given)


def _recipe_of(located: Located) -> Recipe | None:
    """Returns the recipe that made an entry: of a run beside it, of a registry in the folder that has both."""

    entry, around = located.entry, located.folder.parent.parent
    named = entry.training.recipe if entry.training is not None else None
    for path in filter(None, ("recipe.json", named)):
        file = (around / path).resolve()
        if file.is_file() and file.is_relative_to(around.resolve()):
            recipe = read_recipe(file)
            if recipe.architecture == entry.architecture and (path == named or recipe.name == entry.name):
                return recipe
    return None


def _first_phases(located: Located) -> list[dict[str, Any]]:
    """Returns the phases of an entry of which no recipe is at hand."""

    entry = located.entry
    kind = plugins.architecture(entry.architecture)
    phases = starter(kind, entry.data.event_shape, entry.data.levels).get("phases", ())
    if not phases and len(kind.phases) == 1:
        phases = [{"phase": next(iter(kind.phases))}]
    if not phases:
        raise TrainingError(
            f"nothing says how {entry.name} is trained: its recipe is not beside it, and {entry.architecture} has no "
            "settings of its own",
            "write a recipe (docs/training.md), with init: " + entry.name,
        )
    return [dict(phase) for phase in phases]


def _data(located: Located, own: Recipe | None, dataset: str) -> tuple[dict[str, Any], int]:
    """Returns what the recipe says of the data, in the size and the range of the model's, and how many they are."""

    entry = located.entry
    shape = tuple(entry.data.event_shape)
    spec, _ = opened(dataset, shape[-1] if len(shape) == 3 else None)
    if own is not None:
        was = to_dict(own.data)
        spec |= {key: was[key] for key in _OF_DATA if was.get(key)}
    else:
        kind = plugins.architecture(entry.architecture)
        spec = {**starter(kind, shape, entry.data.levels).get("data", {}), **spec}
    if entry.data.range is not None:
        spec["range"] = list(entry.data.range)
    view = open_data(DataSpec(**spec))
    if tuple(view.event_shape) != shape:
        raise TrainingError(
            f"{entry.name} has data of shape {shape}, {dataset} of {tuple(view.event_shape)}",
            "take a model of such data (dgm list), or an architecture: dgm train ARCHITECTURE DATA",
        )
    return spec, len(view)


def _shares(phases: list[dict[str, Any]]) -> list[float]:
    """Returns the share of the time of each phase: as many steps, or epochs, as it had."""

    for unit in ("steps", "epochs", "minutes"):
        lengths = [phase.get(unit) for phase in phases]
        if all(lengths):
            return [length / sum(lengths) for length in lengths]
    return [1 / len(phases)] * len(phases)


def _phase(phase: Mapping[str, Any], minutes: float, data: int) -> dict[str, Any]:
    without = {key: value for key, value in phase.items() if key not in ("steps", "epochs", "minutes", "keep")}
    made = usual_phase(without, minutes, data)
    schedule = {**made["schedule"], "warmup": min(made["schedule"].get("warmup", 0), _WARMUP)}
    return made | {"schedule": schedule}


def _gentle(phase: dict[str, Any], architecture: str) -> dict[str, Any]:
    """Returns a phase that starts from trained weights."""

    where = plugins.architecture(architecture).phases.get(phase["phase"])
    has = import_string(where).Options.__struct_fields__ if where else ()
    ready = {key: value for key, value in _READY.items() if key in has}
    slower = {**phase["optimizer"], "lr": _SLOWER * phase["optimizer"].get("lr", 1e-3)}
    others = phase.get("optimizers", {})
    return phase | {
        "options": {**phase.get("options", {}), **ready},
        "optimizer": slower,
        "optimizers": {k: {**o, "lr": _SLOWER * o.get("lr", 1e-3)} for k, o in others.items()},
        "schedule": {"name": "cosine", "warmup": _WARMUP, "final": slower["lr"] / 100},
        "ema": min(phase["ema"], _EMA) if phase.get("ema") else None,
        "ema_from": 0,
    }


def _parts(parts: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Returns the parts of a recipe, those that become entries named after the new model."""

    made = {}
    for key, part in parts.items():
        if not isinstance(part, str):
            part = {**part, "parts": _parts(part.get("parts", {}), f"{name}-{key}")}
            if part.get("save_as"):
                part["save_as"] = f"{name}-{key}"
        made[key] = part
    return made
