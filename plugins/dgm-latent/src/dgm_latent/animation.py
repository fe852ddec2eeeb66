"""Animations: pictures as a GIF, and the way of an iterative sampler to its samples."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from dgmcore.files.atomic import replacing
from dgmcore.model import Model
from dgmcore.sampling import provenance
from dgmcore.sampling.draw import first_states
from dgmcore.sampling.pictures.canvas import Canvas
from dgmcore.sampling.pictures.pixels import as_image, thinned

__all__ = ["animate", "save_gif"]

ANIMATED = 64  # samples of a trajectory that are drawn


def animate(model: Model, path: Path, n: int, given: Mapping[str, Any]) -> Tensor:
    """Writes the sampler's way to its first samples as a GIF, and returns where it ends, the first batch.

    Arguments:
        model: A model with a trajectory.
        path: The file.
        n: How many samples are drawn in all.
        given: Of :func:`dgmcore.sampling.draw.first_states`: `seed`, `batch_size`, `options`.

    Raises:
        UsageError: If the model draws in one step.
    """

    canvas = Canvas(model, size=480)
    last: list[Tensor] = []

    def states() -> Iterator[np.ndarray]:
        for state in first_states(model, n, **given):
            last[:] = [state]
            yield canvas.keep(state[:ANIMATED])

    kept = thinned(states())
    canvas.frame(kept[-1], margin=0.35)  # the window is that of the samples, with room for the way to them
    save_gif((canvas.draw(x) for x in kept), path)
    return last[0]


def save_gif(
    frames: Iterable[np.ndarray], path: str | os.PathLike[str], *, seconds: float = 4.0, hold: float = 2.0
) -> Path:
    """Writes pictures, each uint8 `(H, W, C)`, as an endless animation.

    Arguments:
        frames: The pictures, all of one size.
        path: The file.
        seconds: How long all take together.
        hold: How long the last one stays.
    """
    images = [as_image(frame) for frame in frames]
    each = min(200, max(30, round(seconds * 1000 / len(images))))
    durations = [each] * (len(images) - 1) + [round(hold * 1000)]
    with replacing(path) as file:
        images[0].save(
            file,
            format="GIF",
            save_all=True,
            append_images=images[1:],
            duration=durations,
            loop=0,
            comment=provenance.text().encode(),
        )
    return Path(path)
