"""Pictures in the terminal: two pixels a character, as an upper half block with its own and the background's colour."""

from __future__ import annotations

import shutil
import sys

import numpy as np
from PIL import Image

from dgmcore import console
from dgmcore.model import Model
from dgmcore.sampling.pictures.canvas import Canvas

__all__ = ["ASCII_SHADES", "SHADES", "preview", "show"]

PREVIEWED = 5000  # points; images: 64

#: Shades of grey, and those of a terminal that has no others.
SHADES, ASCII_SHADES = " ░▒▓█", " .:*#"


def show(model: Model, batches: list[np.ndarray]) -> None:
    """Shows samples, in batches `(b, *event_shape)`, in the terminal; on stderr, as stdout is for data."""

    x = np.concatenate(batches)[:PREVIEWED]
    canvas = Canvas(model)
    x = x[:64] if canvas.kind == "image" else x
    columns, lines = shutil.get_terminal_size()
    size = min(columns, 96), max(8, min(lines - 2, 48))
    blocks = console.encodes(SHADES, sys.stderr)
    colours = console.colours(sys.stderr) if blocks else "none"
    console.say(preview(canvas.draw(x), *size, colours, SHADES if blocks else ASCII_SHADES))


def preview(
    picture: np.ndarray, columns: int = 64, lines: int = 32, colours: str = "truecolor", shades: str = SHADES
) -> str:
    """Returns the lines that show a picture, no wider and no higher than asked.

    Arguments:
        picture: uint8 `(H, W, C)`, C = 1 or 3.
        columns: Characters in a line, at most.
        lines: Lines, at most.
        colours: `truecolor`, `256`, or `none` for shades of grey.
        shades: The characters that these are, from dark to bright.
    """
    height, width = picture.shape[:2]
    scale = min(columns / width, 2 * lines / height)
    size = max(1, round(width * scale)), max(2, 2 * round(height * scale / 2))
    image = Image.fromarray(picture[..., 0] if picture.shape[-1] == 1 else picture)
    if colours == "none":
        grey = np.asarray(image.convert("L").resize((size[0], size[1] // 2), Image.Resampling.BOX))
        return "\n".join("".join(shades[v * len(shades) // 256] for v in row).rstrip() for row in grey.tolist())
    pixels = np.asarray(image.convert("RGB").resize(size, Image.Resampling.BOX)).tolist()
    code = _truecolor if colours == "truecolor" else _of_256
    return "\n".join(
        "".join(f"\x1b[38;{code(a)};48;{code(b)}m▀" for a, b in zip(upper, lower, strict=True)) + "\x1b[0m"
        for upper, lower in zip(pixels[::2], pixels[1::2], strict=True)
    )


def _truecolor(rgb: list[int]) -> str:
    return "2;{};{};{}".format(*rgb)


def _of_256(rgb: list[int]) -> str:
    """The nearest of the 6 x 6 x 6 colours, or of the 24 greys where a pixel is grey."""
    if max(rgb) - min(rgb) < 12:
        step = round((sum(rgb) / 3 - 8) / 10)
        return f"5;{16 if step < 0 else 231 if step > 23 else 232 + step}"
    levels = [0 if v < 48 else 1 if v < 115 else (v - 35) // 40 for v in rgb]
    return f"5;{16 + 36 * levels[0] + 6 * levels[1] + levels[2]}"
