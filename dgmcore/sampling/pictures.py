"""Pictures of samples: grids of images, scatter plots of points, animations, previews in the terminal."""

from __future__ import annotations

import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeVar

import numpy as np
import torch
from torch import Tensor

from ..errors import UsageError
from ..files.atomic import replacing

if TYPE_CHECKING:
    from ..model import Model

__all__ = [
    "Canvas",
    "grid",
    "kind_of",
    "picture",
    "read_picture",
    "save_gif",
    "save_grid",
    "save_png",
    "thinned",
    "to_uint8",
    "write_png",
]

Range = tuple[float, float]

#: More points than these make no other picture.
MAX_POINTS = 200_000
MAX_PIXELS = 100_000_000


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


def kind_of(event_shape: tuple[int, ...]) -> str | None:
    """Returns how a datum is shown: as an `image`, as a `point` (its first two coordinates), or not at all."""

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


def write_png(picture: np.ndarray, file: BinaryIO) -> None:
    """Writes a picture, uint8 `(H, W, C)`, into an open file."""

    _image(picture).save(file, format="PNG")


def save_grid(x: Tensor, range: Range | None, path: str | os.PathLike[str], columns: int | None = None) -> Path:
    """Writes a grid of images `(n, C, H, W)`, whose values are in `range`, as PNG."""

    return save_png(grid(to_uint8(x, range), columns), path)


def picture(model: Model, samples: Tensor, path: str | os.PathLike[str]) -> Path:
    """Writes a picture of samples as PNG: a grid, or a scatter plot over the model's density."""

    return save_png(Canvas(model, samples).draw(samples), path)


class Canvas:
    """Draws samples of one model, in one frame of reference.

    Arguments:
        model: Says the range of images, and the density behind points.
        samples: The samples that the window of a scatter plot is chosen for.
        size: Pixels a side of a scatter plot.

    Raises:
        UsageError: If the model's data can't be drawn.
    """

    def __init__(self, model: Model, samples: Tensor | None = None, size: int = 720):
        from .draw import model_range

        self.model, self.size = model, size
        self.kind = kind_of(tuple(model.event_shape))
        self.range = model_range(model)
        self.window: Any = None
        self.density: np.ndarray | None = None
        if self.kind is None:
            shape = "x".join(map(str, model.event_shape))
            raise UsageError(f"data of shape {shape} can't be drawn", "choose another suffix with --out: .npz, .csv")
        if self.kind == "point" and samples is not None:
            self.frame(samples)

    def frame(self, samples: Tensor | np.ndarray, margin: float = 0.08) -> None:
        """Chooses the window of a scatter plot for samples, and measures the model's density on it."""

        if self.kind != "point":
            return
        from .scatter import density_of, window_of

        model, points = self.model, _points(samples)
        if len(points) < 512 and model.can("pushforward"):  # too few to show where the model has its mass
            from .draw import sample

            points = np.concatenate([points, _points(sample(model, 512))])
        self.window = window_of(points, margin)
        if tuple(model.event_shape) == (2,) and model.can("density"):

            def log_prob(p: Tensor) -> Tensor:
                return model.log_prob(p.to(model.device, model.dtype)).cpu()

            self.density = density_of(log_prob, self.window)

    def keep(self, samples: Tensor | np.ndarray) -> np.ndarray:
        """Returns what is needed to draw samples later, in little memory: pixels of images, or the points."""

        return to_uint8(samples, self.range) if self.kind == "image" else _points(samples)

    def draw(self, samples: Tensor | np.ndarray) -> np.ndarray:
        """Returns a picture of samples `(n, *event_shape)`, or of what `keep` returned, uint8 `(H, W, C)`."""

        if self.kind == "image":
            return grid(samples if _is_pixels(samples) else to_uint8(samples, self.range))
        from .scatter import draw

        if self.window is None:
            self.frame(samples)
        return draw(_points(samples), self.window, self.density, self.size)


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

    images = [_image(frame) for frame in frames]
    each = min(200, max(30, round(seconds * 1000 / len(images))))
    durations = [each] * (len(images) - 1) + [round(hold * 1000)]
    with replacing(path) as file:
        images[0].save(file, format="GIF", save_all=True, append_images=images[1:], duration=durations, loop=0)
    return Path(path)


T = TypeVar("T")


def thinned(states: Iterable[T], limit: int = 48) -> list[T]:
    """Returns at most `2 * limit` states, evenly spaced, and the last one; the others are dropped on the way."""

    kept: list[T] = []
    stride, i, state = 1, -1, None
    for i, state in enumerate(states):
        if i % stride == 0:
            kept.append(state)
            if len(kept) > 2 * limit:
                kept, stride = kept[::2], stride * 2
    if i % stride:
        kept.append(state)
    return kept


def read_picture(path: str | os.PathLike[str], model: Model) -> Tensor:
    """Returns a picture in the shape and range of a model's images, cut to their proportions, `event_shape`."""

    from ..data.decode import Wanted, decode, read_file

    canvas = Canvas(model)
    if canvas.kind != "image":
        raise UsageError("the model's data are no images", "leave out the picture")
    *channels, height, width = model.event_shape
    wanted = Wanted(channels=3 if channels == [3] else 1, size=(height, width))
    low, high = canvas.range or (-1.0, 1.0)
    pixels = torch.from_numpy(decode(read_file(Path(path)), str(path), wanted)).float() * ((high - low) / 255) + low
    return pixels.reshape(model.event_shape)


def _image(picture: np.ndarray) -> Any:
    from PIL import Image

    return Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)


def _is_pixels(samples: Tensor | np.ndarray) -> bool:
    return isinstance(samples, np.ndarray) and samples.dtype == np.uint8


def _points(samples: Tensor | np.ndarray) -> np.ndarray:
    x = samples.detach().cpu().double().numpy() if isinstance(samples, Tensor) else np.asarray(samples, np.float64)
    return x[:MAX_POINTS, :2]
