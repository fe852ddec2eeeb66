"""Reconstructions: data through their codes and back."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from dgmcore.errors import UsageError
from dgmcore.files.atomic import replacing
from dgmcore.interfaces import Encoder
from dgmcore.plugins import call
from dgmcore.sampling.pictures.canvas import Canvas, check_format
from dgmcore.sampling.pictures.pixels import save_grid
from dgmcore.sampling.settings import model_name, outgoing, undisturbed

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["as_encoder", "reconstruct", "write_beside"]


def as_encoder(model: Model) -> Encoder:
    """Returns a model that has codes.

    Raises:
        UsageError: If it has none.
    """

    if not model.can("encoder"):
        raise UsageError(
            f"{model_name(model)} has no codes: {type(model).__name__} is no encoder", "dgm list --can encoder"
        )
    return cast(Encoder, model)


def reconstruct(model: Model, x: Tensor) -> Tensor:
    """Returns what the model makes of the codes of data, `(n, *event_shape)`, in the range of its data."""

    if not model.can("encoder") and model.can("pushforward"):  # by the noise that comes closest
        return outgoing(call("invert")(model, x), model, "reconstructions").cpu()
    encoder = as_encoder(model)
    with torch.no_grad(), undisturbed(model):
        back = encoder.decode(encoder.encode(x.to(model.device, model.dtype)))
    return outgoing(back, model, "reconstructions").cpu()


def write_beside(model: Model, x: Tensor, back: Tensor, path: str | os.PathLike[str]) -> Path:
    """Writes a picture of data with their reconstructions.

    Images are in pairs, the reconstruction to the right; points have lines to theirs.
    """

    canvas, path = Canvas(model), Path(path).expanduser()
    pairs = torch.stack([x, back], 1)
    if canvas.kind == "image":
        check_format(canvas.kind, path.suffix)
        pairs_in_row = max(1, round((len(x) / 2) ** 0.5))
        return save_grid(pairs.flatten(0, 1), canvas.range, path, columns=2 * pairs_in_row)
    canvas.frame(x)
    with replacing(path) as file:
        canvas.write_ways(pairs, file, path.suffix)
    return path
