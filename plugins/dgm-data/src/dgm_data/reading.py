"""A user's picture as a model wants it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor

from dgmcore.data.images import to_range
from dgmcore.errors import DataError, UsageError
from dgmcore.model import Model
from dgmcore.sampling.pictures.pixels import kind_of
from dgmcore.sampling.settings import model_range

from .decode import decode
from .regular import read_file

__all__ = ["read_picture"]


def read_picture(path: str | os.PathLike[str], model: Model) -> Tensor:
    """Returns a picture in the shape and range of a model's images, cut to their proportions, `event_shape`.

    Raises:
        UsageError: If the model's data are no images.
        DataError: If the file can't be read.
    """
    if kind_of(tuple(model.event_shape)) != "image":
        raise UsageError("the model's data are no images", "leave out the picture")
    file = Path(path).expanduser()
    if not file.is_file():  # a pipe would keep us waiting
        raise DataError(f"{path} is no file", "give a PNG or JPEG picture")
    read = decode(read_file(file), str(file))
    colour = len(model.event_shape) == 3 and model.event_shape[0] == 3
    image = Image.fromarray(read[0] if len(read) == 1 else read.transpose(1, 2, 0))
    height, width = model.event_shape[-2:]
    fitted = np.array(ImageOps.fit(image.convert("RGB" if colour else "L"), (width, height)))
    pixels = torch.from_numpy(fitted.transpose(2, 0, 1) if colour else fitted).reshape(model.event_shape)
    return to_range(pixels, model_range(model) or (-1.0, 1.0))
