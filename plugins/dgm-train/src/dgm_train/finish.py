"""From a trained model to registry entries."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from dgmcore.data.view import View
from dgmcore.entry import SCHEMA, Data, Entry
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise

from .recipe import PartRecipe, Recipe

__all__ = ["draw_picture", "first_entry", "write_entries"]

IMAGES, POINTS = 16, 2000  # samples in a picture


def first_entry(recipe: Recipe, data: View) -> Entry:
    """Returns the entry of a model in training, by which others know its data."""

    name = recipe.data.dataset
    description = Data(
        dataset=Path(name).name if os.path.isabs(name) else name,
        event_shape=tuple(data.event_shape),
        range=data.range,
        levels=data.levels,
        options=recipe.data.options,
    )
    return Entry(
        schema=SCHEMA,
        name=recipe.name,
        architecture=recipe.architecture,
        license=recipe.license,
        data=description,
        sampling=recipe.sampling,
    )


@torch.no_grad()
def draw_picture(model: Model, path: Path, seed: int = 0) -> bool:
    """Writes a picture of samples; returns False if the model draws none, or they can't be seen."""

    from dgmcore.sampling.pictures import kind_of, picture

    if not model.can("generator") or kind_of(tuple(model.event_shape)) is None:
        return False
    n = IMAGES if kind_of(tuple(model.event_shape)) == "image" else POINTS
    samples = model.sample(IndexedNoise(seed, n, device=model.device))
    path.parent.mkdir(parents=True, exist_ok=True)
    picture(model, samples.float().cpu(), path)
    return True


def write_entries(
    recipe: Recipe, model: Model, out: Path, work: Path, training: dict[str, Any], ema: dict[str, bool], parts_out: Path
) -> Path:
    """Writes the entries of the parts that have a name of their own, and the model's.

    Arguments:
        recipe: The recipe.
        model: The trained model, with its entry so far.
        out: The folder of entries.
        work: Where the picture is drawn.
        training: The entry's section `training`.
        ema: By module, whether its weights are an average.
        parts_out: The folder of the parts' entries.
    """

    from dgmcore.loading.save import save

    model.eval()
    assert model.entry is not None
    common: dict[str, Any] = {"license": recipe.license, "data": model.entry.data, "training": training}

    def save_parts(owner: Model, parts: dict[str, str | PartRecipe], place: str) -> None:
        for name, part in parts.items():
            if isinstance(part, str):
                continue
            inner = owner.parts[name]
            path = f"{place}parts.{name}"
            save_parts(inner, part.parts, f"{path}.")
            if part.save_as is not None:
                save(
                    inner,
                    parts_out / part.save_as,
                    name=part.save_as,
                    architecture=part.architecture,
                    summary=f"The part {name} of {recipe.name}",
                    ema=_is_average(path, ema),
                    papers=recipe.papers,
                    **common,
                )
                owner.shared_parts[name] = part.save_as

    save_parts(model, recipe.parts, "")
    picture = work / "samples.png"
    drawn = draw_picture(model, picture, recipe.seed)
    return save(
        model,
        out / recipe.name,
        name=recipe.name,
        architecture=recipe.architecture,
        summary=recipe.summary,
        ema=_is_average("", ema),
        sampling=recipe.sampling,
        papers=recipe.papers,
        tags=recipe.tags,
        samples_png=picture if drawn else None,
        **common,
    )


def _is_average(place: str, ema: dict[str, bool]) -> bool:
    """Whether the last phase that trained the module at `place`, something around it or inside it, averaged it."""

    related = [v for k, v in ema.items() if not k or not place or place.startswith(k) or k.startswith(place)]
    return bool(related) and related[-1]
