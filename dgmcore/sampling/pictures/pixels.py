"""Images as bytes: rounded, in grids, in files, in animations."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from colorsys import hsv_to_rgb
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
from PIL import Image as pillow
from PIL.PngImagePlugin import PngInfo
from torch import Tensor

from ...files.atomic import replacing
from .. import provenance

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["as_image", "grid", "kind_of", "save_grid", "save_png", "strips", "thinned", "to_uint8", "write_png"]

Range = tuple[float, float]

T = TypeVar("T")


def to_uint8(x: Tensor | np.ndarray, range: Range | None = None) -> np.ndarray:
    """Returns images as 8-bit pixels, rounded, uint8 `(n, H, W, C)` with C = 1 or 3.

    Arguments:
        x: Images `(n, C, H, W)` or `(n, H, W)`.
        range: The values that become 0 and 255; None stands for [-1, 1].
    """
    low, high = range or (-1.0, 1.0)
    x = x.detach().cpu().float().numpy() if isinstance(x, Tensor) else np.asarray(x, dtype=np.float32)
    if x.ndim == 3:
        x = x[:, None]
    x = np.nan_to_num(x, nan=low, posinf=high, neginf=low).clip(low, high)
    return np.rint((x - low) * (255 / (high - low))).astype(np.uint8).transpose(0, 2, 3, 1)


def strips(x: Tensor | np.ndarray, range: Range, levels: int) -> np.ndarray:
    """Returns sequences of symbols `(n, N)` as images of one row, a colour for each symbol, uint8 `(n, 1, N, 3)`.

    What is no symbol, such as what a trajectory has not come to, is grey.
    """
    place = (np.asarray(x, np.float64) - range[0]) * ((levels - 1) / (range[1] - range[0]))
    index = np.nan_to_num(place, nan=-1).round().clip(-1, levels).astype(int)
    known = (abs(place - index) < 0.1) & (index >= 0) & (index < levels)
    colours = [hsv_to_rgb(k / levels, 0.7, 0.9) for k in np.arange(levels)] + [(0.8, 0.8, 0.8)]
    return (255 * np.array(colours)).astype(np.uint8)[np.where(known, index, levels)][:, None]


def kind_of(event_shape: tuple[int, ...], levels: int | None = None) -> str | None:
    """Returns how a datum is shown: as an `image`, as a `point` (its first two coordinates), or not at all.

    A sequence of symbols, which has `levels`, is an image of one row.
    """
    if len(event_shape) == 1 and levels is not None:
        return "image"
    if len(event_shape) == 3 and event_shape[0] in (1, 3):
        return "image"
    if len(event_shape) == 2 and min(event_shape) > 1:
        return "image"
    if len(event_shape) == 1 and event_shape[0] >= 2:
        return "point"
    return None


def grid(pixels: np.ndarray, columns: int | None = None, gap: int = 2) -> np.ndarray:
    """Returns one picture of all images, uint8 `(H', W', C)`; small ones are enlarged by a whole factor.

    Arguments:
        pixels: uint8 `(n, H, W, C)`.
        columns: Images in a row; None makes the grid about square.
        gap: Pixels between images, before enlarging.
    """
    n, height, width, channels = pixels.shape
    columns = columns or max(1, math.ceil(math.sqrt(n)))
    rows = max(1, math.ceil(n / columns))
    picture = np.full((rows * (height + gap) + gap, columns * (width + gap) + gap, channels), 255, dtype=np.uint8)
    for i, image in enumerate(pixels):
        y, x = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        picture[y : y + height, x : x + width] = image
    factor = max(1, min(8, 720 // max(picture.shape[:2])))
    return picture.repeat(factor, 0).repeat(factor, 1)


def save_png(picture: np.ndarray, path: str | os.PathLike[str]) -> Path:
    """Writes a picture, uint8 `(H, W, C)`."""
    with replacing(path) as file:
        write_png(picture, file)
    return Path(path)


def write_png(picture: np.ndarray, file: BinaryIO, **facts: Any) -> None:
    """Writes a picture, uint8 `(H, W, C)`, into an open file, with the record of how it was made and more `facts`."""
    about = PngInfo()
    if record := provenance.text(**facts):
        about.add_text(provenance.KEY, record)
    as_image(picture).save(file, format="PNG", pnginfo=about)


def save_grid(x: Tensor, range: Range | None, path: str | os.PathLike[str], columns: int | None = None) -> Path:
    """Writes a grid of images `(n, C, H, W)`, whose values are in `range`, as PNG."""
    return save_png(grid(to_uint8(x, range), columns), path)


def thinned(states: Iterable[T], limit: int = 48) -> list[T]:
    """Returns at most `2 * limit` states, evenly spaced, and the last one; the others are dropped on the way."""
    kept: list[T] = []
    last: list[T] = []
    stride = 1
    for i, state in enumerate(states):
        last = [state] if i % stride else []
        if not last:
            kept.append(state)
            if len(kept) > 2 * limit:
                kept, stride = kept[::2], stride * 2
    return kept + last


def as_image(picture: np.ndarray) -> Image:
    """Returns a picture, uint8 `(H, W, C)`, as one of Pillow's."""
    return pillow.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
