r"""Scatter plots of 2-D samples over the model's density, as pixels, drawn without matplotlib.

A figure is a square of the plane. The density :math:`p` behind the points is coloured from 0 to its maximum by a
light-to-dark map whose lightness falls evenly; points are antialiased discs, made of `OVERSAMPLING` x `OVERSAMPLING`
samples a pixel, more transparent the more there are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

__all__ = ["Window", "coloured", "draw", "figure", "ticks", "window_of"]

OVERSAMPLING = 3
LEFT, TOP, TICK = 48, 12, 5  # pixels around a figure with axes; as much below as on the left

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
_LINE = np.array((90, 90, 90), dtype=np.float32)
_AXIS = (60, 60, 60)


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


def draw(
    points: np.ndarray,
    window: Window,
    density: np.ndarray | None = None,
    size: int = 720,
    ways: np.ndarray | None = None,
) -> np.ndarray:
    """Returns the picture of points `(n, 2)`, uint8 `(size, size, 3)`.

    Arguments:
        points: The samples.
        window: The square of the plane that is shown.
        density: The density on it, divided by its maximum, `(grid, grid)`, rows from the top.
        size: Pixels a side.
        ways: Lines `(rows, steps, 2)` below the points.
    """
    ground = np.broadcast_to(_COLOURS[0], (size, size, 3)) if density is None else coloured(_resized(density, size))
    if ways is not None:
        ground = ground + _lines(ways, window, size)[..., None] * (_LINE - ground)
    cover = _coverage(points, window, size)[..., None]
    drawn: np.ndarray = np.rint(ground + cover * (_POINT - ground)).astype(np.uint8)
    return drawn


def figure(
    points: np.ndarray,
    window: Window,
    density: np.ndarray | None = None,
    ways: np.ndarray | None = None,
    size: int = 720,
) -> np.ndarray:
    """Returns the picture with axes around it, uint8 `(size, size, 3)`; arguments are those of :func:`draw`."""
    side = size - LEFT - TOP
    page = Image.new("RGB", (size, size), "white")
    page.paste(Image.fromarray(draw(points, window, density, side, ways)), (LEFT, TOP))
    pen, font = ImageDraw.Draw(page), ImageFont.load_default(size=13)
    bottom = TOP + side
    pen.rectangle((LEFT - 1, TOP - 1, LEFT + side, bottom), outline=_AXIS)
    for value in ticks(window.x, window.x + window.side):
        at = LEFT + (value - window.x) / window.side * side
        pen.line((at, bottom, at, bottom + TICK), fill=_AXIS)
        pen.text((at, bottom + TICK + 2), f"{value:g}", fill=_AXIS, font=font, anchor="mt")
    for value in ticks(window.y, window.y + window.side):
        at = bottom - (value - window.y) / window.side * side
        pen.line((LEFT - TICK - 1, at, LEFT - 1, at), fill=_AXIS)
        pen.text((LEFT - TICK - 3, at), f"{value:g}", fill=_AXIS, font=font, anchor="rm")
    return np.asarray(page)


def ticks(low: float, high: float, most: int = 8) -> list[float]:
    """Returns round numbers between two, at most so many, a multiple of 1, 2 or 5 apart.

    Example:
        >>> ticks(-1.3, 2.2)
        [-1.0, -0.5, 0.0, 0.5, 1.0, 1.5, 2.0]
    """
    digit = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(k * digit for k in (1, 2, 5, 10) if (high - low) / (k * digit) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [float(f"{k * step:.12g}") for k in range(first, last + 1)]


def _lines(ways: np.ndarray, window: Window, size: int) -> np.ndarray:
    """Returns how much of each pixel the lines cover, float32 `(size, size)` in [0, 1]."""
    fine = size * OVERSAMPLING
    mask = Image.new("L", (fine, fine))
    pen = ImageDraw.Draw(mask)
    place = (ways - (window.x, window.y)) / window.side * fine
    place[..., 1] = fine - place[..., 1]
    for way in place:
        pen.line([(float(x), float(y)) for x, y in way], fill=255, width=OVERSAMPLING * max(1, size // 360))
    return np.asarray(mask.resize((size, size), Image.Resampling.BOX), dtype=np.float32) / 255


def coloured(values: np.ndarray) -> np.ndarray:
    """Maps values in [0, 1] to colours, float32 `(..., 3)`."""
    place = np.clip(values, 0, 1) * (len(_COLOURS) - 1)
    below = np.minimum(place.astype(np.int64), len(_COLOURS) - 2)
    part = (place - below)[..., None].astype(np.float32)
    colours: np.ndarray = _COLOURS[below] * (1 - part) + _COLOURS[below + 1] * part
    return colours


def _resized(values: np.ndarray, size: int) -> np.ndarray:
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
    fine_cover = 1 - np.power(1 - np.float32(alpha), count)
    cover: np.ndarray = fine_cover.reshape(size, OVERSAMPLING, size, OVERSAMPLING).mean((1, 3))
    return cover
