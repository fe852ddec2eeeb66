"""Images in folders and zips: decoded once, all of one size and mode, or refused by name."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

from ..errors import DataError
from ..files.atomic import hidden
from .images import Images
from .locate import cache_folder

__all__ = ["SUFFIXES", "open_pictures", "read_pictures"]

SUFFIXES = (".png", ".jpg", ".jpeg")
_FILE_LIMIT = 1 << 26  # bytes of one image file
_PIXEL_LIMIT = 1 << 24
_UNPACKED = 1 << 30  # bytes that all images may always have; beyond, not more than _RATIO times those of their files
_RATIO = 200
_THREADS = 4
_CACHE_FROM = 1 << 24  # bytes from which on decoded images are kept on disk
_MODES = {"L": "L", "1": "L", "RGB": "RGB", "P": "RGB"}


def open_pictures(path: Path) -> Images:
    """Opens an image, a folder (with its subfolders) or a zip of images, sorted by name.

    Files that are not `.png`, `.jpg` or `.jpeg`, and hidden ones, are none of the data.

    Raises:
        DataError: If there is none, or if one can't be read or differs from the first in size or mode.
    """

    return Images(str(path), read_pictures(path)[0])


def read_pictures(path: Path) -> tuple[np.ndarray, list[str]]:
    """Returns uint8 `(N, C, H, W)`, memory-mapped if large, and the names of the files."""

    with ExitStack() as stack:
        if path.is_dir():
            files = sorted(p for p in path.rglob("*") if p.is_file())
            keys = [f"{p.relative_to(path)}" for p in files]
            stamps = {k: _stamp(p) for k, p in zip(keys, files, strict=True)}
            sizes = {k: p.stat().st_size for k, p in zip(keys, files, strict=True)}
            read: Callable[[str], bytes] = lambda name: _read_file(path / name)  # noqa: E731
        elif path.suffix.lower() == ".zip":
            try:
                archive = stack.enter_context(zipfile.ZipFile(path))
            except Exception as e:  # zipfile says many things about damaged files
                raise DataError(f"{path} can't be read: {e}", "check that it is a complete zip file") from None
            infos = {i.filename: i for i in archive.infolist() if i.filename and not i.is_dir()}
            stamps = {k: f"{i.CRC}:{i.file_size}" for k, i in infos.items()}
            sizes = {k: i.compress_size for k, i in infos.items()}
            read = lambda name: _read_member(path, archive, infos[name])  # noqa: E731
        else:
            stamps = {path.name: _stamp(path)}
            sizes = {path.name: path.stat().st_size}
            read = lambda name: _read_file(path)  # noqa: E731
        names = sorted(n for n in stamps if _is_picture(n))
        if not names:
            raise DataError(f"{path} has no images", f"give a folder or zip of {', '.join(SUFFIXES)} files")
        key = hashlib.blake2b(repr([(n, stamps[n]) for n in names]).encode(), digest_size=16).hexdigest()
        packed = sum(sizes[n] for n in names)
        return _decode_all(path, names, read, f"{path.stem}-{key}", packed), names


def _decode_all(path: Path, names: Sequence[str], read: Callable[[str], bytes], key: str, packed: int) -> np.ndarray:
    def one(name: str, like: np.ndarray | None = None) -> np.ndarray:
        return _decode(f"{path}: {name}" if path.name != name else str(path), read(name), like, names[0])

    first = one(names[0])
    total = first.nbytes * len(names)
    if total > max(_UNPACKED, _RATIO * packed):
        raise DataError(
            f"{path}: {len(names)} images of {packed:,} bytes unpack to {total:,}", "use fewer or smaller images"
        )
    cached = cache_folder() / f"{key}.npy" if total >= _CACHE_FROM else None
    if cached is not None:
        try:
            array = np.load(cached, mmap_mode="r", allow_pickle=False)
            if array.shape == (len(names), *first.shape) and array.dtype == np.uint8:
                return array
        except (OSError, ValueError):
            pass  # not decoded yet

    def fill(array: np.ndarray) -> np.ndarray:
        with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
            for i, image in enumerate(pool.map(lambda name: one(name, first), names)):
                array[i] = image
        return array

    if cached is not None:
        try:
            cached.parent.mkdir(parents=True, exist_ok=True)
            with hidden(cached) as temporary:
                array = fill(np.lib.format.open_memmap(temporary, "w+", np.uint8, (len(names), *first.shape)))
                array.flush()
                os.replace(temporary, cached)
            return np.load(cached, mmap_mode="r")
        except OSError:
            pass  # no writable cache: keep them in memory
    return fill(np.empty((len(names), *first.shape), np.uint8))


def _decode(what: str, data: bytes, like: np.ndarray | None, other: str) -> np.ndarray:
    """Decodes one image to uint8 `(C, H, W)`, which must be the shape of the `other` one that it is to be `like`."""

    try:
        with Image.open(io.BytesIO(data), formats=["PNG", "JPEG"]) as image:
            if image.width * image.height > _PIXEL_LIMIT:
                raise DataError(f"{what} has {image.width} x {image.height} pixels", "make it smaller")
            mode = _MODES.get(image.mode)
            if mode is None:
                raise DataError(f"{what} has the mode {image.mode}", "convert it to 8-bit grey or RGB")
            shape = (len(mode), image.height, image.width)
            if like is not None and shape != like.shape:  # known before it is decoded
                a, b = _describe(shape), _describe(like.shape)
                raise DataError(f"{what} is {a}, but {other} is {b}", "give images of one size and mode")
            array = np.asarray(image.convert(mode) if image.mode != mode else image)
    except DataError:
        raise
    except Exception as e:  # Pillow says many things about damaged files
        reason = "it is no PNG or JPEG" if isinstance(e, UnidentifiedImageError) else (str(e).splitlines() or ["?"])[0]
        raise DataError(f"{what} can't be read: {reason}", "replace or remove it") from None
    return array[None] if array.ndim == 2 else np.ascontiguousarray(array.transpose(2, 0, 1))


def _read_file(path: Path) -> bytes:
    try:
        with open(path, "rb") as file:
            data = file.read(_FILE_LIMIT + 1)
    except OSError as e:
        raise DataError(f"{path} can't be read: {e.strerror}", "replace or remove it") from None
    if len(data) > _FILE_LIMIT:
        raise DataError(f"{path} is larger than {_FILE_LIMIT} bytes", "make it smaller")
    return data


def _read_member(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> bytes:
    try:
        with archive.open(info) as file:
            data = file.read(_FILE_LIMIT + 1)  # the size that the zip states may be wrong
    except Exception as e:  # zipfile and its decompressors say many things about damaged files
        raise DataError(f"{path}: {info.filename} can't be read: {e}", "make the zip again") from None
    if len(data) > _FILE_LIMIT:
        raise DataError(f"{path}: {info.filename} unpacks to more than {_FILE_LIMIT} bytes", "make it smaller")
    return data


def _stamp(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError as e:
        raise DataError(f"{path} can't be read: {e.strerror}", "check the path") from None
    return f"{path.absolute()}:{stat.st_size}:{stat.st_mtime_ns}"


def _is_picture(name: str) -> bool:
    parts = Path(name).parts
    return name.lower().endswith(SUFFIXES) and not any(p.startswith((".", "__MACOSX")) for p in parts)


def _describe(shape: tuple[int, ...]) -> str:
    return f"{shape[2]} x {shape[1]} {'RGB' if shape[0] == 3 else 'grey'}"
