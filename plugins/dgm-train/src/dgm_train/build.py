"""From a recipe to a model, its phases and its data."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import msgspec
import numpy as np
import torch

from dgmcore import plugins
from dgmcore.config import parse
from dgmcore.data import open_data
from dgmcore.data.spec import DataSpec
from dgmcore.data.view import View
from dgmcore.errors import DataError, TrainingError
from dgmcore.loading.load import build, load
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.plugins.imports import import_string
from dgmcore.sampling.stream_noise import derive_seed
from dgmcore.suggestions import did_you_mean
from dgmcore.training.phase import Phase

from .recipe import PartRecipe, PhaseRecipe, Recipe

__all__ = [
    "build_model",
    "build_phase",
    "check_fits",
    "data_sha256",
    "open_validation",
    "part_of",
    "seen",
    "with_shape",
]

_BLOCK = 1000
_LOOKED_AT = 1000  # data, by which others know them again


def build_model(recipe: Recipe) -> Model:
    """Builds the model with seeded weights, its parts loaded, built or initialised as the recipe says."""

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "init"))
        model = _build(recipe.architecture, recipe.config, recipe.parts, recipe.init)
    model.set_sampling_defaults(recipe.sampling, source=f"recipe {recipe.name}: sampling")
    return model


def _build(architecture: str, config: dict[str, Any], parts: Mapping[str, str | PartRecipe], init: str | None) -> Model:
    made = {name: part if isinstance(part, str) else _build_part(part) for name, part in parts.items()}
    model = build(architecture, config, made)
    if init is not None:
        _start_from(model, init)
    return model


def _build_part(part: PartRecipe) -> Model:
    return _build(part.architecture, part.config, part.parts, part.init)


@torch.no_grad()
def _start_from(model: Model, name: str) -> None:
    """Copies the weights of an entry that the model has too, by name."""

    theirs, ours = load(name).state_dict(), model.state_dict()
    common = [key for key in ours if key in theirs]
    if not common:
        raise TrainingError(
            f"{name} has no weight that {type(model).__name__} has", "start from an entry of the same architecture"
        )
    for key in common:
        if ours[key].shape != theirs[key].shape:
            raise TrainingError(
                f"{name} does not fit: {key} is {tuple(theirs[key].shape)}, here {tuple(ours[key].shape)}",
                "give both the same config",
            )
        ours[key].copy_(theirs[key])


def part_of(model: Model, name: str) -> Model:
    """Returns a part of a model."""

    part = model.parts[name]
    assert isinstance(part, Model)
    return part


def build_phase(model: Model, spec: PhaseRecipe) -> Phase:
    """Returns a phase of the model, or of a part of it (`base.elbo`)."""

    target, name = model, spec.phase
    while "." in name.partition(":")[0] and ":" not in name:
        part, _, name = name.partition(".")
        if part not in target.parts:
            raise TrainingError(
                f"{type(target).__name__} has no part {part} with phases", did_you_mean(part, target.parts)
            )
        target = part_of(target, part)
    where = type(target).phases.get(name, name)
    if ":" not in where:
        raise TrainingError(
            f"{type(target).__name__} has no phase {name}", did_you_mean(name, type(target).phases, "see its docs")
        )
    try:
        kind = import_string(where)
    except (ImportError, AttributeError, ValueError) as e:
        raise TrainingError(f"the phase {where} can't be imported: {e}", "correct the import string") from e
    if not (isinstance(kind, type) and issubclass(kind, Phase)):
        raise TrainingError(f"{where} is no dgmcore.training.Phase", "name one of the model's phases")
    options = parse(kind.Options, spec.options, source=f"options of the phase {spec.phase}", error=TrainingError)
    return kind(target, options)


def with_shape(recipe: Recipe, shape: tuple[int, ...]) -> Recipe:
    """Returns a recipe whose config has the data's shape, where it can say one and does not."""

    fields = getattr(getattr(plugins.architecture(recipe.architecture), "Config", None), "__struct_fields__", ())
    config = dict(recipe.config)
    if "event_shape" in fields:
        config.setdefault("event_shape", list(shape))
    elif "dim" in fields and len(shape) == 1:
        config.setdefault("dim", shape[0])
    return msgspec.structs.replace(recipe, config=config)


def open_validation(recipe: Recipe, model: Model) -> View | None:
    """Returns the data to validate on, in the model's shape; None if the recipe wants no validation.

    Raises:
        DgmError: If they do not fit, or if there are none.
    """

    if not recipe.validate_every:
        return None
    spec = recipe.validation
    if spec is None:
        spec = msgspec.structs.replace(recipe.data, split="test")
        try:
            validation = open_data(spec)
        except DataError as e:
            raise DataError(
                f"there is nothing to validate on: {e.what}",
                "name held-out data, as validation: {dataset: ...}, or drop validate_every",
            ) from e
    else:
        validation = open_data(spec)
    if _is_same(validation, open_data(recipe.data)):
        raise DataError(
            f"validation is on the training data, {spec.dataset} {spec.split}",
            "name another split or file in validation, or drop validate_every",
        )
    check_fits(recipe, spec, validation, model)
    return validation


def _is_same(a: View, b: View) -> bool:
    """Whether finite data are the same split of the same data set, or hold the same under another name."""

    if b.draw(IndexedNoise(0, 1)) is not None:
        return False
    name, other = (os.path.realpath(os.path.expanduser(v.name)) for v in (a, b))
    return (name == other and a.spec.split == b.spec.split) or seen(a) == seen(b)


def check_fits(recipe: Recipe, spec: DataSpec, data: View, model: Model) -> None:
    """Checks that data have the model's shape, and the range that its likelihood is one of.

    Raises:
        TrainingError: If not.
    """

    shape = tuple(getattr(model, "event_shape", data.event_shape))
    if shape != tuple(data.event_shape):
        raise TrainingError(
            f"{spec.dataset} has data of shape {data.event_shape}, but {recipe.name} wants {shape}",
            "correct the model's config, or pad or resize the data",
        )
    levels = vars(model).get("data_levels")
    if levels is not None and data.levels not in (None, levels):
        raise TrainingError(
            f"{recipe.name}, as its config says, is a model of data of {levels} levels, "
            f"and {spec.dataset} has {data.levels}",
            "give data of so many levels, or change the config",
        )
    wanted = vars(model).get("data_range")  # what its config says; the class's is an example
    if wanted is not None and data.range != tuple(wanted):
        raise TrainingError(
            f"{recipe.name}, as its config says, is a model of data in {list(wanted)}, "
            f"and {spec.dataset} is {f'in {list(data.range)}' if data.range else 'without a range'}",
            f"set data.range: [{wanted[0]:g}, {wanted[1]:g}], or change the config",
        )


def data_sha256(data: View, most: int) -> str | None:
    """Returns the sha256 of so many data, evenly spaced; None for endless data."""

    if data.draw(IndexedNoise(0, 1)) is not None:
        return None
    index = np.unique(np.linspace(0, len(data) - 1, min(most, len(data))).astype(np.int64))
    found = hashlib.sha256()
    for start in range(0, len(index), _BLOCK):
        found.update(data.take(index[start : start + _BLOCK]).contiguous().numpy().tobytes())
    return found.hexdigest()


def seen(data: View) -> str:
    """Returns what tells data from others: how many they are, and the sha256 of some."""

    return f"{len(data)} {data_sha256(data, _LOOKED_AT)}"
