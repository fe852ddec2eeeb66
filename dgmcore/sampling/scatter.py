r"""Scatter plots of 2-D samples over the model's density, drawn with numpy alone.

A figure is a square of the plane. The density :math:`p` behind the points is coloured from 0 to its maximum by a
light-to-dark map whose lightness falls evenly; points are antialiased discs, made of `OVERSAMPLING` x `OVERSAMPLING`
samples a pixel, more transparent the more there are.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["Window", "density_of", "draw", "window_of"]

OVERSAMPLING = 3
DENSITY_GRID = 128

#: Anchors of the colour map, from density 0 to the maximum.
_COLOURS = np.array(
    [
        (252, 253, 255),
        (226, 238, 248),
        (191, 218, 238),
        (147, 195, 225),
        (101, 168, 211),
        (63, 138, 194),
        (37, 106, 172),
        (22, 74, 139),
        (14, 45, 98),
    ],
    dtype=np.float32,
)
_POINT = np.array((226, 88, 34), dtype=np.float32)


class Window(NamedTuple):
    """A square of the plane: the lower left corner and the side."""

    x: float
    y: float
    side: float


def window_of(points: np.ndarray, margin: float = 0.08) -> Window:
    """Returns the square around all but the outermost 0.2 % of the points `(n, 2)`, with a margin."""

    points = points[np.isfinite(points).all(1)]
    if not len(points):
        return Window(-1.0, -1.0, 2.0)
    low, high = np.quantile(points, (0.001, 0.999), axis=0) if len(points) >= 1000 else (points.min(0), points.max(0))
    side = max(float((high - low).max()), 1e-6) * (1 + 2 * margin)
    x, y = (high + low) / 2 - side / 2
    return Window(float(x), float(y), side)


def density_of(log_prob: Callable[[Tensor], Tensor], window: Window, grid: int = DENSITY_GRID) -> np.ndarray:
    """Returns the density on a window, `(grid, grid)`, rows from the top, divided by its maximum.

    Arguments:
        log_prob: Maps points `(m, 2)` to `(m,)` nats, up to a constant.
        window: The square.
        grid: Points a side, at the centres of the cells.
    """

    centres = (torch.arange(grid) + 0.5) / grid * window.side
    y, x = torch.meshgrid(window.y + centres.flip(0), window.x + centres, indexing="ij")
    with torch.no_grad():
        values = torch.cat([log_prob(p) for p in torch.stack([x, y], -1).view(-1, 2).split(4096)])
    values = values.double().nan_to_num(nan=-math.inf)
    return (values - values.max()).exp().view(grid, grid).float().numpy()


def draw(points: np.ndarray, window: Window, density: np.ndarray | None = None, size: int = 720) -> np.ndarray:
    """Returns the picture of points `(n, 2)`, uint8 `(size, size, 3)`.

    Arguments:
        points: The samples.
        window: The square of the plane that is shown.
        density: The density on it, as :func:`density_of` returns.
        size: Pixels a side.
    """

    ground = np.broadcast_to(_COLOURS[0], (size, size, 3)) if density is None else _coloured(_resized(density, size))
    cover = _coverage(points, window, size)[..., None]
    return np.rint(ground + cover * (_POINT - ground)).astype(np.uint8)


def _coloured(values: np.ndarray) -> np.ndarray:
    """Maps values in [0, 1] to colours, float32 `(..., 3)`."""

    place = np.clip(values, 0, 1) * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(np.int64), len(_COLOURS) - 2)
    part = (place - below)[..., None].astype(np.float32)
    return _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part


def _resized(values: np.ndarray, size: int) -> np.ndarray:
    from PIL import Image

    picture = Image.fromarray(np.ascontiguousarray(values, dtype=np.float32))
    return np.asarray(picture.resize((size, size), Image.Resampling.BICUBIC))


def _coverage(points: np.ndarray, window: Window, size: int) -> np.ndarray:
    """Returns how much of each pixel the points cover, float32 `(size, size)` in [0, 1]."""

    fine = size * OVERSAMPLING
    n = max(len(points), 1)
    radius = size * min(max(0.011 * (64 / n) ** 0.25, 0.0014), 0.011) * OVERSAMPLING
    alpha = min(0.92, max(0.12, 0.92 * (1000 / n) ** 0.3))
    reach = math.ceil(radius)
    dy, dx = np.mgrid[-reach : reach + 1, -reach : reach + 1]
    disc = dy**2 + dx**2 <= radius**2
    dy, dx = dy[disc], dx[disc]

    count = np.zeros(fine * fine, dtype=np.float32)
    for some in np.array_split(points, max(1, len(points) * len(dx) // 4_000_000)):
        place = (some - (window.x, window.y)) / window.side * fine
        place = place[np.isfinite(place).all(1) & (np.abs(place - fine / 2) < fine).all(1)].astype(np.int64)
        column = (place[:, :1] + dx).ravel()
        row = (fine - 1 - place[:, 1:] + dy).ravel()
        inside = (column >= 0) & (column < fine) & (row >= 0) & (row < fine)
        count += np.bincount((row * fine + column)[inside], minlength=fine * fine)
    cover = 1 - np.power(1 - np.float32(alpha), count)
    return cover.reshape(size, OVERSAMPLING, size, OVERSAMPLING).mean((1, 3))
