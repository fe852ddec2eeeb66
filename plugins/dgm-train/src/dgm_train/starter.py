"""A first recipe for data of one's own: what an architecture says of its training, and the data of themselves."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dgmcore import plugins
from dgmcore.console import say
from dgmcore.data import open_data
from dgmcore.data.base import Dataset
from dgmcore.data.images import Images
from dgmcore.data.spec import DataSpec
from dgmcore.errors import DataError, TrainingError, UsageError
from dgmcore.training import starter

from .recipe import SCHEMA

__all__ = ["MINUTES", "SIZE", "UNSTATED", "asked_for", "first_recipe", "name_for", "opened", "usual_phase"]

MINUTES = 8.0  # a first picture within ten
SIZE = 32  # pixels a side, of pictures that are larger
_SET = "name=..., phases.0.minutes=..., data.resize=..."
_SMALLEST, _STEP = 16, 4  # what all convolutional architectures can halve twice
_BATCH = 32
UNSTATED = "Not stated; whoever passes these weights on has to say"


def first_recipe(
    architecture: str,
    data: str | os.PathLike[str],
    *,
    name: str | None = None,
    minutes: float = MINUTES,
    size: int | None = None,
) -> dict[str, Any]:
    """Returns a recipe that trains an architecture on data, with settings that the architecture has for such data.

    Arguments:
        architecture: A name that a plugin registers.
        data: Pictures of any sizes or another kind of data, as for :func:`dgmcore.data.open_data`.
        name: The entry's name; by default made of the other two.
        minutes: How long to train.
        size: Pixels a side to which pictures are cut and resized; by default 32, or theirs if they are squares that
            are smaller.

    Raises:
        DgmError: If there are no such data, or if the architecture does not know what to do with them.
    """

    _check_no_family(architecture)
    kind = plugins.architecture(architecture)
    dataset = os.fspath(data)
    spec, view = opened(dataset, size)
    shape = tuple(view.event_shape)
    own = dict(starter(kind, shape, view.levels))
    if not own and (kind.Parts or len(kind.phases) != 1):
        raise TrainingError(
            f"{architecture} has no settings of its own for a first training",
            "write a recipe (docs/training.md), or train conv-vae, dcgan, glow or ddpm",
        )
    own = own or {"phases": [{"phase": next(iter(kind.phases))}]}
    phases = [usual_phase(phase, minutes / len(own["phases"]), len(view)) for phase in own["phases"]]
    return {
        "schema": SCHEMA,
        "name": name or name_for(architecture, dataset),
        "architecture": architecture,
        "config": dict(own.get("config", {})),
        "data": {**spec, **own.get("data", {})},
        "phases": phases,
        "sampling": dict(own.get("sampling", {})),
        "samples_every": 500,
        "license": UNSTATED,
        "summary": f"{architecture} on {Path(dataset).name}",
    }


def _check_no_family(name: str) -> None:
    """Raises for the name of a family, such as `vae`, with those of its architectures."""

    known = plugins.architectures()
    of_family = sorted(other for other, record in known.items() if record.family in (name, f"{name}s"))
    if name not in known and of_family:
        raise UsageError(f"{name} is a family of architectures", f"name one of them: {', '.join(of_family)}")


def asked_for(recipe: str | None, data: str | None, **given: Any) -> dict[str, Any] | Path:
    """Returns what a command line asks to train: the file of a recipe, or a first recipe for data.

    Arguments:
        recipe: A file, or an architecture.
        data: Data, or None.
        given: Arguments of :func:`first_recipe`; None is its default.

    Raises:
        DgmError: If the two do not go together.
    """

    given = {key: value for key, value in given.items() if value is not None}
    if recipe is None:
        raise UsageError("nothing says what to train", "dgm train RECIPE, or ARCHITECTURE DATA, or --like NAME DATA")
    if data is not None:
        if recipe not in plugins.architectures() and data in plugins.architectures():
            raise UsageError(f"no plugin provides the architecture {recipe}", f"dgm train {data} {recipe}")
        return first_recipe(recipe, data, **given)
    if os.path.isdir(recipe):
        raise UsageError(f"{recipe} is a folder: nothing says what to train on it", f"dgm train conv-vae {recipe}")
    if given:
        raise UsageError(
            f"--{next(iter(given))} is for an architecture and data", f"write it as --set for a recipe: {_SET}"
        )
    if not os.path.exists(recipe) and recipe in plugins.architectures():
        raise UsageError(f"{recipe} is an architecture: there are no data to train it on", f"dgm train {recipe} DATA")
    return Path(recipe)


def opened(dataset: str, size: int | None) -> tuple[dict[str, Any], Dataset]:
    """Returns what a recipe says of the data, and the data: pictures as small squares."""

    side = size or SIZE
    small = {"dataset": dataset, "crop": True, "resize": side}
    choice = "; --size chooses another size" if size is None else ""
    try:
        view = open_data(dataset)
    except DataError:  # pictures of several sizes, or something that cutting them does not change
        view = open_data(DataSpec(**small))
        say(f"{dataset}: pictures of several sizes become {side} x {side}, their middle squares{choice}")
        return small, view
    if not isinstance(view.base, Images):
        if size is not None:
            raise TrainingError(
                f"{dataset} are no pictures, which could have a size",
                "name pictures, or leave out --size",
            )
        return {"dataset": dataset}, view
    height, width = view.event_shape[1:]
    fits = height == width and _SMALLEST <= height <= SIZE and height % _STEP == 0
    if (size is None and fits) or (height, width) == (size, size):
        return {"dataset": dataset}, view
    say(f"{dataset}: pictures of {width} x {height} become {side} x {side}{choice}")
    return small, open_data(DataSpec(**small))


def usual_phase(own: Mapping[str, Any], minutes: float, data: int) -> dict[str, Any]:
    """Returns a phase with what is usual where `own` says nothing, in batches of at most half the data."""

    usual = {
        "batch_size": _BATCH,
        "minutes": minutes,
        "optimizer": {"name": "adam", "lr": 1e-3},
        "schedule": {"name": "cosine", "warmup": 50, "final": 1e-5},
        "ema": 0.99,
    }
    phase = usual | dict(own)
    return phase | {"batch_size": max(1, min(phase["batch_size"], data // 2))}


def name_for(model: str, dataset: str) -> str:
    """Returns the name of an entry, made of an architecture's or an entry's and of that of the data."""

    stem = re.sub(r"[^a-z0-9]+", "-", Path(os.path.abspath(dataset)).stem.lower()).strip("-")
    return f"{model}-{stem or 'data'}"[:100].rstrip("-")
