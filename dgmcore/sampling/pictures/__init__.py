"""Pictures of samples: grids of images, points of the plane over the model's density, the terminal."""

from __future__ import annotations

from ...version import forwarded
from .canvas import Canvas, picture
from .pixels import grid, kind_of, save_grid, save_png, thinned, to_uint8, write_png

__all__ = ["Canvas", "grid", "kind_of", "picture", "save_grid", "save_png", "thinned", "to_uint8", "write_png"]

__getattr__ = forwarded(__name__, "read_picture", "save_gif")
