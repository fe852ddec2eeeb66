"""One frame of reference for pictures of a model's samples."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO, TypeGuard, cast

import numpy as np
import torch
from torch import Tensor

from ...errors import UsageError
from ...files.atomic import replacing
from ...interfaces import Generator
from ...model import Model
from ...noise import IndexedNoise
from ...plugins import call
from ..settings import model_range
from . import scatter
from .density import density_behind
from .pixels import grid, kind_of, strips, to_uint8, write_png

__all__ = ["MAX_POINTS", "Canvas", "check_format", "picture"]

#: More points than these make no other picture.
MAX_POINTS = 200_000

_FEW = 512  # points: too few to show where a model has its mass


def picture(model: Model, samples: Tensor, path: str | os.PathLike[str]) -> Path:
    """Writes a picture of samples: a grid of images, or points with axes over the model's density.

    What is not finite is dark in a grid, and is not among the points: pictures of trainings show what went wrong.
    """
    path = Path(path)
    with replacing(path) as file:
        Canvas(model, samples).write(samples, file, path.suffix)
    return path


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
        self.model, self.size = model, size
        self.kind = kind_of(tuple(model.event_shape), model.data_levels)
        self.range = model_range(model)
        self.window: scatter.Window | None = None
        self.density: np.ndarray | None = None
        if self.kind is None:
            shape = "x".join(map(str, model.event_shape))
            raise UsageError(f"data of shape {shape} can't be drawn", "choose another suffix with --out: .npz, .csv")
        if self.kind == "point" and samples is not None:
            self.frame(samples)

    def frame(self, samples: Tensor | np.ndarray, margin: float = 0.08) -> scatter.Window | None:
        """Chooses the window of a scatter plot for samples, and measures the model's density on it."""
        if self.kind != "point":
            return None
        points = _points(samples)
        if len(points) < _FEW and self.model.can("pushforward"):
            noise = IndexedNoise.of(self.model, 0, _FEW)
            with torch.no_grad():
                points = np.concatenate([points, _points(cast(Generator, self.model).sample(noise))])
        self.window = scatter.window_of(points, margin)
        self.density = density_behind(self.model, self.window)
        return self.window

    def keep(self, samples: Tensor | np.ndarray) -> np.ndarray:
        """Returns what is needed to draw samples later, in little memory: pixels of images, or the points."""
        return self._pixels(samples) if self.kind == "image" else _points(samples)

    def _pixels(self, samples: Tensor | np.ndarray) -> np.ndarray:
        if len(self.model.event_shape) > 1:
            return to_uint8(samples, self.range)
        x = samples.detach().float().cpu().numpy() if isinstance(samples, Tensor) else samples
        return strips(x, self.range or (0.0, 1.0), self.model.data_levels or 2)

    def draw(self, samples: Tensor | np.ndarray) -> np.ndarray:
        """Returns a picture of samples `(n, *event_shape)`, or of what `keep` returned, uint8 `(H, W, C)`."""
        if self.kind == "image":
            pixels = samples if _is_pixels(samples) else self._pixels(samples)
            return grid(pixels) if len(self.model.event_shape) > 1 else grid(pixels, columns=1, gap=1)
        return scatter.draw(_points(samples), self._window(samples), self.density, self.size)

    def write(self, samples: Tensor | np.ndarray, file: BinaryIO, suffix: str = ".png") -> None:
        """Writes a picture of samples: a grid of images, or points with axes.

        Arguments:
            samples: `(n, *event_shape)`, or what `keep` returned.
            file: Where to.
            suffix: `.png`; for points also `.pdf` and `.svg`.

        Raises:
            UsageError: If it is no format for such data.
        """
        if self.kind == "image":
            check_format(self.kind, suffix)
            write_png(self.draw(samples), file)
        else:
            self._figure(_points(samples), None, file, suffix)

    def write_ways(self, ways: Tensor, file: BinaryIO, suffix: str = ".png") -> None:
        """Writes a picture of ways in the plane, `(rows, steps, *event_shape)`: points, with lines between them."""
        points = _points(ways.flatten(0, 1))
        self._figure(points, points.reshape(*ways.shape[:2], 2), file, suffix)

    def _figure(self, points: np.ndarray, ways: np.ndarray | None, file: BinaryIO, suffix: str) -> None:
        window = self._window(points)
        if suffix.lower() in ("", ".png"):
            write_png(scatter.figure(points, window, self.density, ways, self.size), file)
        else:
            call("write_figure")(file, suffix, points, window, self.density, ways)

    def _window(self, samples: Tensor | np.ndarray) -> scatter.Window:
        window = self.window or self.frame(samples)
        assert window is not None
        return window


def check_format(kind: str | None, suffix: str) -> None:
    """Refuses a suffix that data of that kind are not written as."""
    if kind == "image" and suffix.lower() not in ("", ".png"):
        raise UsageError(f"images are not written as {suffix}", "use .png, or a folder/ of pictures")


def _is_pixels(samples: Tensor | np.ndarray) -> TypeGuard[np.ndarray]:
    return isinstance(samples, np.ndarray) and samples.dtype == np.uint8


def _points(samples: Tensor | np.ndarray) -> np.ndarray:
    x = samples.detach().cpu().double().numpy() if isinstance(samples, Tensor) else np.asarray(samples, np.float64)
    return x[:MAX_POINTS, :2]
