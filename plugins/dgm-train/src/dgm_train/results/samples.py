"""Pictures of samples: while a model trains, and in its entry."""

from __future__ import annotations

from pathlib import Path

import torch

from dgmcore.console import warn
from dgmcore.errors import NotFiniteError
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.pictures import kind_of, picture
from dgmcore.sampling.provenance import making
from dgmcore.sampling.settings import require_finite

__all__ = ["draw_picture"]

IMAGES, POINTS = 16, 2000  # samples in a picture


@torch.no_grad()
def draw_picture(model: Model, path: Path, seed: int = 0) -> bool:
    """Writes a picture of samples; returns False if the model draws none, or they can't be seen.

    Of a model that can leave out the noise of its last step (`mean`), as a Gaussian VAE, images are means, unless the
    recipe's `sampling` says otherwise.
    """

    kind = kind_of(tuple(model.event_shape), model.data_levels) if model.can("generator") else None
    if kind is None:
        return False
    noise = IndexedNoise.of(model, seed, IMAGES if kind == "image" else POINTS)
    try:
        samples = model.sample(noise, **_options(model, kind)).float().cpu()  # type: ignore[operator]  # it is a generator
        require_finite(samples, "samples", "train on, or with a lower learning rate")
    except NotFiniteError as e:  # no reason to end a training
        warn(f"there is no picture of samples: {e}")
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    with making("sample", model, n=noise.n, seed=seed, batch_size=noise.n):
        picture(model, samples, path)
    return True


def _options(model: Model, kind: str) -> dict[str, bool]:
    """The options of sampling that a picture wants."""

    can_mean = kind == "image" and "mean" in model.Sampling.__struct_fields__
    said = {} if model.entry is None else model.entry.sampling
    return {"mean": True} if can_mean and "mean" not in said else {}
