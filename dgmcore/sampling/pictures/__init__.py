"""Pictures of samples: grids of images, points of the plane over the model's density, the terminal."""

from __future__ import annotations

from typing import Any

from ...plugins import call
from .canvas import Canvas, picture
from .pixels import grid, kind_of, save_grid, save_png, thinned, to_uint8, write_png

#: What plugins bring, and can be imported from here.
_CALLS = ("read_picture", "save_gif")

__all__ = [
    "Canvas",
    "grid",
    "kind_of",
    "picture",
    "save_grid",
    "save_png",
    "thinned",
    "to_uint8",
    "write_png",
]


def __getattr__(name: str) -> Any:
    if name not in _CALLS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return call(name)
