"""One decoder for every picture that comes from a user.

A picture comes out upright, as 8-bit grey or RGB, or it is refused by name: nothing of it is dropped. Its EXIF
orientation is followed; 16 bits of grey are rounded to 8; transparent pixels are refused, or laid over a colour where
one is asked for; another shape is refused, or cut to the wanted proportions where that is asked for.
"""

from __future__ import annotations

import io
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from dgmcore.errors import DataError

from .regular import read_file, read_limited

__all__ = ["SUFFIXES", "Wanted", "decode", "read_file", "read_limited"]

SUFFIXES = (".png", ".jpg", ".jpeg")

_PIXEL_LIMIT = 1 << 24
_ORIENTATION = 0x0112  # the EXIF tag; from 5 on the picture lies on its side
#: What the modes of PNG and JPEG become. 16 bits of grey are `I;16`, or `I` in older versions of Pillow.
_MODES = {"1": "L", "L": "L", "LA": "L", "I;16": "L", "I": "L", "P": "RGB", "RGB": "RGB", "RGBA": "RGB"}


class Wanted(NamedTuple):
    """What a picture is made into.

    Attributes:
        channels: 1 for grey, 3 for RGB; None: as it is.
        size: Height and width: the middle of the picture in these proportions, resized; None: as it is.
        background: The colour behind transparent pixels; None: there must be none.
    """

    channels: int | None = None
    size: tuple[int, int] | None = None
    background: tuple[int, int, int] | None = None


def decode(
    data: bytes, what: str, wanted: Wanted = Wanted(), like: tuple[tuple[int, ...], str] | None = None
) -> np.ndarray:
    """Decodes a PNG or JPEG file.

    Arguments:
        data: The file.
        what: What errors call it.
        wanted: What is made of it.
        like: The shape that it must have, and the picture that has it.

    Returns:
        The pixels, uint8 `(C, H, W)`.

    Raises:
        DataError: If it is damaged, too large, of another kind or shape.
    """
    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            _check(image, what)
            if like is not None and wanted == Wanted(wanted.channels):  # known before it is decoded
                _check_like(_shape(image, wanted), what, *like)
            upright = ImageOps.exif_transpose(image)
            picture = _eight_bits(upright, what, wanted.background)
            picture = picture.convert({None: picture.mode, 1: "L", 3: "RGB"}[wanted.channels])
            if wanted.size is not None:
                picture = ImageOps.fit(picture, wanted.size[::-1])
            array = np.array(picture)
    except DataError:
        raise
    except Exception as e:  # Pillow says many things about damaged files
        reason = "it is no PNG or JPEG" if isinstance(e, UnidentifiedImageError) else (str(e).splitlines() or ["?"])[0]
        raise DataError(f"{what} can't be read: {reason}", "replace or remove it") from None
    array = array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))
    if like is not None:
        _check_like(array.shape, what, *like)
    return array


def _check(image: Image.Image, what: str) -> None:
    if image.width * image.height > _PIXEL_LIMIT:
        raise DataError(f"{what} has {image.width} x {image.height} pixels", "make it smaller")
    if image.mode not in _MODES:
        raise DataError(f"{what} has the mode {image.mode}", "convert it to grey or RGB")
    if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:  # a camera's JPEG may hold a thumbnail as another
        raise DataError(f"{what} is an animation", "save one of its pictures")


def _check_like(shape: tuple[int, ...], what: str, other_shape: tuple[int, ...], other: str) -> None:
    if shape != other_shape:
        raise DataError(
            f"{what} is {_describe(shape)}, but {other} is {_describe(other_shape)}",
            "give images of one size and mode; in a recipe, data.crop and data.resize make them so",
        )


def _describe(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} {'RGB' if shape[0] == 3 else 'grey'}"


def _shape(image: Image.Image, wanted: Wanted) -> tuple[int, int, int]:
    """Returns the shape that the picture will have, `(C, H, W)`, without decoding a JPEG."""
    sides = (image.height, image.width)
    if image.getexif().get(_ORIENTATION, 1) in (5, 6, 7, 8):
        sides = sides[::-1]
    return (wanted.channels or len(_MODES[image.mode]), *sides)


def _eight_bits(image: Image.Image, what: str, background: tuple[int, int, int] | None) -> Image.Image:
    """Returns an upright picture in the mode `L` or `RGB`."""
    mode, key = image.mode, image.info.get("transparency")  # the colour, or the palette's entries, that are clear
    layers = None
    if mode.startswith("I"):
        values = np.asarray(image)
        see_through = key is not None and bool((values == key).any())
        image = Image.fromarray(((values.astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    elif key is not None or mode in ("LA", "RGBA"):
        layers = image.convert("RGBA")
        see_through = bool((np.asarray(layers)[..., 3] < 255).any())
    else:
        see_through = False
    if not see_through:
        return image.convert(_MODES[mode])
    if background is None or layers is None:
        raise DataError(
            f"{what} has the mode {mode} and transparent pixels",
            "save it without transparency; in a recipe, data.background: [255, 255, 255] puts it on white",
        )
    flat = Image.alpha_composite(Image.new("RGBA", image.size, (*background, 255)), layers)
    return flat.convert(_MODES[mode] if len(set(background)) == 1 else "RGB")
