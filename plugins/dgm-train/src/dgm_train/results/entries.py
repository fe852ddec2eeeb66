"""From a trained model to registry entries."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from dgmcore.data.view import View
from dgmcore.entry import SCHEMA, Data, Entry, Training, dump_entry
from dgmcore.model import Model, save
from dgmcore.plugins import datasets

from ..build import part_of
from ..recipe import PartRecipe, Recipe
from .samples import draw_picture

__all__ = ["first_entry", "write_entries"]


def first_entry(recipe: Recipe, data: View) -> Entry:
    """Returns the entry of a model in training, by which others know its data.

    Raises:
        RegistryError: If nobody could read the entry that the training would write.
    """

    name = recipe.data.dataset
    description = Data(
        dataset=name if name in datasets() else os.path.abspath(os.path.expanduser(name)),  # found from any folder
        event_shape=tuple(data.event_shape),
        range=data.range,
        levels=data.levels,
        options=recipe.data.options,
    )
    entry = Entry(
        schema=SCHEMA,
        name=recipe.name,
        architecture=recipe.architecture,
        license=recipe.license,
        data=description,
        sampling=recipe.sampling,
        summary=recipe.summary,
        papers=recipe.papers,
        tags=recipe.tags,
    )
    dump_entry(entry)
    return entry


def write_entries(
    recipe: Recipe, model: Model, out: Path, parts_out: Path, work: Path, training: Training, averaged: dict[str, bool]
) -> Path:
    """Writes the entries of the parts that have a name of their own, and the model's.

    Arguments:
        recipe: The recipe.
        model: The trained model, with its entry so far.
        out: The folder of entries.
        parts_out: The folder of the parts' entries.
        work: Where the picture is drawn.
        training: How the weights came to be.
        averaged: By module, whether its weights are an average.

    Returns:
        The folder of the model's entry.
    """

    model.eval()
    assert model.entry is not None
    write = partial(
        save,
        license=recipe.license,
        data=model.entry.data,
        training=training,
        papers=recipe.papers,
        dtype=recipe.stored_as,
    )

    def write_parts(owner: Model, parts: Mapping[str, str | PartRecipe], place: str) -> None:
        for name, part in parts.items():
            if isinstance(part, str):
                continue
            inner = part_of(owner, name)
            path = f"{place}parts.{name}"
            write_parts(inner, part.parts, f"{path}.")
            if part.save_as is not None:
                inner.noise_version = model.noise_version
                write(
                    inner,
                    parts_out / part.save_as,
                    name=part.save_as,
                    architecture=part.architecture,
                    summary=f"The part {name} of {recipe.name}",
                    ema=_is_average(path, averaged),
                )
                owner.shared_parts[name] = part.save_as

    write_parts(model, recipe.parts, "")
    picture = work / "samples.png"
    drawn = draw_picture(model, picture, recipe.seed)
    return write(
        model,
        out / recipe.name,
        name=recipe.name,
        architecture=recipe.architecture,
        summary=recipe.summary,
        ema=_is_average("", averaged),
        sampling=recipe.sampling,
        tags=recipe.tags,
        samples_png=picture if drawn else None,
    )


def _is_average(place: str, averaged: Mapping[str, bool]) -> bool:
    """Whether the last phase that trained the module at `place`, something around it or inside it, averaged it."""

    related = [v for k, v in averaged.items() if not k or not place or place.startswith(k) or k.startswith(place)]
    return bool(related) and related[-1]
