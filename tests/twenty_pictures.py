"""Pictures as users have them, of every kind that ever went wrong, with what a reader must make of each."""

from __future__ import annotations

import io
import struct
import zlib
from typing import NamedTuple

import numpy as np
from PIL import Image

__all__ = ["HEIGHT", "PICTURES", "WIDTH", "Picture"]

HEIGHT, WIDTH = 8, 12


class Picture(NamedTuple):
    """A file, and what it is.

    Attributes:
        name: The file's name.
        data: Its bytes.
        pixels: What it shows, uint8 `(C, H, W)`; None if it is refused.
        refused: What the error says.
        tolerance: The largest error of a pixel: JPEG loses something.
    """

    name: str
    data: bytes
    pixels: np.ndarray | None = None
    refused: str = ""
    tolerance: int = 0


def _scene() -> np.ndarray:
    """Four corners of different colours, smooth enough for JPEG, uint8 `(H, W, 3)`."""

    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    return np.stack([20 * x, 30 * y, 250 - 20 * x], 2).astype(np.uint8)


SCENE = _scene()
GREY = SCENE[..., 0]


def _save(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def _first(array: np.ndarray) -> np.ndarray:
    return array[None] if array.ndim == 2 else array.transpose(2, 0, 1)


def _turned(turn: Image.Transpose, orientation: int, kind: str, **options) -> bytes:
    """The scene as a camera stores it: turned, with a note how to turn it back."""

    exif = Image.Exif()
    exif[0x0112] = orientation
    return _save(Image.fromarray(SCENE).transpose(turn), kind, exif=exif, **options)


def _rgba(alpha: int) -> Image.Image:
    image = Image.fromarray(SCENE).convert("RGBA")
    image.putpixel((3, 3), (*SCENE[3, 3].tolist(), alpha))
    return image


def _png(width: int, height: int, depth: int, colour: int, rows: bytes) -> bytes:
    """A PNG by hand: of 16 bits, or of a size that it does not have."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def _rgb16() -> bytes:
    rows = (SCENE.astype(">u2") * 257).reshape(HEIGHT, -1)
    return _png(WIDTH, HEIGHT, 16, 2, b"".join(b"\0" + row.tobytes() for row in rows))


def _palette(transparency: int | None = None) -> tuple[bytes, np.ndarray]:
    image = Image.fromarray(SCENE).quantize(16)
    options = {} if transparency is None else {"transparency": transparency}
    return _save(image, **options), np.asarray(image.convert("RGB"))


def _pictures() -> list[Picture]:
    rgb, grey = Image.fromarray(SCENE), Image.fromarray(GREY)
    bits = Image.fromarray(GREY > 100)
    clear = "transparent pixels"
    other = "no PNG or JPEG"
    key = tuple(SCENE[3, 3].tolist())
    return [
        Picture("rgb.png", _save(rgb), _first(SCENE)),
        Picture("grey.png", _save(grey), _first(GREY)),
        Picture("one-bit.png", _save(bits), _first(np.where(GREY > 100, 255, 0).astype(np.uint8))),
        Picture("grey16.png", _save(Image.fromarray(GREY.astype(np.uint16) * 257)), _first(GREY)),
        Picture("rgb16.png", _rgb16(), _first(SCENE)),
        Picture("palette.png", _palette()[0], _first(_palette()[1])),
        Picture("plain.JPG", _save(rgb, "JPEG", quality=100, subsampling=0), _first(SCENE), tolerance=4),
        Picture("grey.jpeg", _save(grey, "JPEG", quality=100), _first(GREY), tolerance=4),
        Picture(
            "progressive.jpg",
            _save(rgb, "JPEG", quality=100, subsampling=0, progressive=True),
            _first(SCENE),
            tolerance=4,
        ),
        Picture(
            "on-its-side.jpg",
            _turned(Image.Transpose.ROTATE_90, 6, "JPEG", quality=100, subsampling=0),
            _first(SCENE),
            tolerance=4,
        ),
        Picture("upside-down.png", _turned(Image.Transpose.ROTATE_180, 3, "PNG"), _first(SCENE)),
        Picture("opaque.png", _save(_rgba(255)), _first(SCENE)),
        Picture("key-unused.png", _save(rgb, transparency=(1, 2, 3)), _first(SCENE)),
        Picture("see-through.png", _save(_rgba(0)), refused=clear),
        Picture("half.png", _save(_rgba(128)), refused=clear),
        Picture("key.png", _save(rgb, transparency=key), refused=clear),
        Picture("key-of-palette.png", _palette(3)[0], refused=clear),
        Picture("grey-alpha.png", _save(_rgba(0).convert("LA")), refused=clear),
        Picture("cmyk.jpg", _save(rgb.convert("CMYK"), "JPEG"), refused="mode CMYK"),
        Picture("huge.png", _png(60_000, 60_000, 8, 0, b""), refused="60000 x 60000 pixels|can't be read"),
        Picture("truncated.png", _save(rgb)[:-60], refused="can't be read"),
        Picture("truncated.jpg", _save(rgb, "JPEG")[:-200], refused="can't be read"),
        Picture("empty.png", b"", refused=other),
        Picture("text.png", b"hello, I am no picture", refused=other),
        Picture("webp.png", _save(rgb, "WEBP"), refused=other),
        Picture(
            "animation.png",
            _save(rgb, save_all=True, append_images=[Image.fromarray(255 - SCENE)]),
            refused="animation",
        ),
        Picture("some.gif", _save(rgb, "GIF"), refused=other),
        Picture("some.webp", _save(rgb, "WEBP"), refused=other),
        Picture("some.bmp", _save(rgb, "BMP"), refused=other),
        Picture("some.tiff", _save(rgb, "TIFF"), refused=other),
    ]


PICTURES = _pictures()
