"""Weights that Ruthotto & Haber publish for their DCGAN and WGAN."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from dgmcore.conversion.converters import Converted, options_of, read_checkpoint, tensors_of
from dgmcore.entry import Data
from dgmcore.errors import UsageError

__all__ = ["rh_gan"]


def rh_gan(files: list[Path], options: dict[str, Any]) -> Converted:
    """Joins a generator file and a discriminator file, in any order, to one model.

    The files are told apart by `fc.weight`: it is `(3136, q)` in the generator, `(1, 3136)` in the discriminator.
    """

    dataset = options_of(options, dataset="mnist")["dataset"]
    if len(files) != 2:
        raise UsageError(
            f"rh-gan needs two files, not {len(files)}", "give the generator's file and the discriminator's"
        )
    state = {}
    for file in files:
        tensors = tensors_of(read_checkpoint(file))
        fc = tensors.get("fc.weight")
        if fc is None:
            raise UsageError(f"{file} is no generator or discriminator of rh-gan", "its tensors lack fc.weight")
        part = "discriminator" if fc.shape[0] == 1 else "generator"
        state.update({f"{part}.{name}": tensor for name, tensor in tensors.items()})
    if "generator.fc.weight" not in state or "discriminator.fc.weight" not in state:
        raise UsageError("the two files are of the same kind", "give the generator's file and the discriminator's")
    return Converted(
        architecture="rh-gan",
        config={"q": state["generator.fc.weight"].shape[1]},
        state=state,
        license="MIT",
        data=Data(dataset=str(dataset), event_shape=(1, 28, 28), range=(0.0, 1.0), levels=256),
        summary="GAN on MNIST, q = 2, published by Ruthotto & Haber",
        papers=[{"title": "An Introduction to Deep Generative Modeling", "url": "https://arxiv.org/abs/2103.05180"}],
        notes=["Copyright (c) 2021 Lars Ruthotto, github.com/EmoryMLIP/DeepGenerativeModelingIntro"],
    )
