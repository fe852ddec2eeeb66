"""From a recipe to a model, its phases and its data."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import torch

from dgmcore.config import parse
from dgmcore.data import open_data
from dgmcore.data.view import View
from dgmcore.errors import TrainingError
from dgmcore.model import Model
from dgmcore.noise import derive_seed
from dgmcore.suggestions import did_you_mean
from dgmcore.training.phase import Phase

from .recipe import PartRecipe, PhaseRecipe, Recipe

__all__ = ["build_model", "build_phase", "open_training_data"]


def build_model(recipe: Recipe) -> Model:
    """Builds the model with seeded weights, its parts loaded, built or initialised as the recipe says."""

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed(recipe.seed, "init"))
        model = _build(recipe.architecture, recipe.config, recipe.parts, recipe.init)
    model.set_sampling_defaults(recipe.sampling, source=f"recipe {recipe.name}: sampling")
    return model


def _build(architecture: str, config: dict[str, Any], parts: dict[str, str | PartRecipe], init: str | None) -> Model:
    from dgmcore.loading.load import build

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

    from dgmcore.loading.load import load

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


def build_phase(model: Model, spec: PhaseRecipe) -> Phase:
    """Returns a phase of the model, or of a part of it (`base.elbo`)."""

    target, name = model, spec.phase
    while "." in name.partition(":")[0] and ":" not in name:
        part, _, name = name.partition(".")
        if part not in target.parts:
            raise TrainingError(
                f"{type(target).__name__} has no part {part} with phases", did_you_mean(part, target.parts)
            )
        target = target.parts[part]
    where = type(target).phases.get(name, name)
    if ":" not in where:
        raise TrainingError(
            f"{type(target).__name__} has no phase {name}", did_you_mean(name, type(target).phases, "see its docs")
        )
    module, _, attribute = where.partition(":")
    try:
        kind = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as e:
        raise TrainingError(f"the phase {where} can't be imported: {e}", "correct the import string") from e
    options = parse(kind.Options, spec.options, source=f"options of the phase {spec.phase}", error=TrainingError)
    return kind(target, options)


def open_training_data(recipe: Recipe, model: Model) -> tuple[View, View | None]:
    """Returns the data to train on and those to validate on, in the model's shape."""

    data = open_data(recipe.data)
    shape = getattr(model, "event_shape", data.event_shape)
    if tuple(shape) != tuple(data.event_shape):
        raise TrainingError(
            f"{recipe.data.dataset} has data of shape {data.event_shape}, but {recipe.name} wants {tuple(shape)}",
            "correct the model's config, or pad or resize the data",
        )
    if recipe.validation is not None:
        return data, open_data(recipe.validation)
    return data, open_data(recipe.data, split="test") if recipe.validate_every else None
