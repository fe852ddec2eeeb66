"""Pictures of samples: grids of images, points of the plane over the model's density, animations, the terminal."""

from __future__ import annotations

from .canvas import Canvas, picture
from .pixels import grid, kind_of, save_gif, save_grid, save_png, thinned, to_uint8, write_png
from .reading import read_picture

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
