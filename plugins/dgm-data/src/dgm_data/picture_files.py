"""Images in folders and zips: decoded once, all of one size and mode, or refused by name."""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from dgmcore.data.images import Images
from dgmcore.errors import DataError
from dgmcore.files.atomic import hidden

from .decode import SUFFIXES, Wanted, decode
from .locate import cache_folder
from .regular import read_file, read_limited

__all__ = ["open_pictures", "read_pictures"]

#: Pictures that are not read, and so are refused where they lie among others.
OTHERS = (".gif", ".webp", ".bmp", ".tif", ".tiff", ".heic", ".heif", ".avif", ".jfif", ".jpe", ".jp2", ".jxl")
_UNPACKED = 1 << 30  # bytes that all images may always have; beyond, not more than _RATIO times those of their files
_RATIO = 200
_THREADS = 4
_CACHE_FROM = 1 << 24  # bytes from which on decoded images are kept on disk
_VERSION = 2  # of what decoding does; kept images of another are none


def open_pictures(
    path: Path, size: tuple[int, int] | None = None, background: tuple[int, int, int] | None = None
) -> Images:
    """Opens an image, or a folder (with its subfolders) or a zip of images, sorted by name.

    Files that are no pictures by their names, and hidden ones, are none of the data.

    Arguments:
        path: The file, or folder.
        size: Height and width that they get, cut to these proportions; None: as they are.
        background: The colour behind transparent pixels; None: there must be none.

    Raises:
        DataError: If there is none, or if one can't be read or differs from the first in size or mode.
    """

    wanted = Wanted(size=size, background=background)
    if path.is_dir() or path.suffix.lower() == ".zip":
        return Images(str(path), read_pictures(path, wanted)[0])
    return Images(str(path), decode(read_file(path), str(path), wanted)[None])


def read_pictures(path: Path, wanted: Wanted = Wanted()) -> tuple[np.ndarray, list[str]]:
    """Returns uint8 `(N, C, H, W)`, memory-mapped if large, and the names of the files."""

    with ExitStack() as stack:
        source: Folder | Zip = Folder(path) if path.is_dir() else Zip(path, stack)
        if not source.names:
            raise DataError(f"{path} has no images", f"give a folder or zip of {', '.join(SUFFIXES)} files")
        return _decode_all(source, wanted), source.names


# --- where the files are ---------------------------------------------------------------------------


class Folder:
    """The pictures of a folder and its subfolders; links are followed.

    Attributes:
        path: What errors name.
        names: The files' names, sorted.
    """

    def __init__(self, path: Path):
        self.path, self.names = path, sorted(name for name in _walk(path) if _is_picture(name, path))

    def title(self, name: str) -> str:
        """What errors call a picture."""

        return f"{self.path}: {name}"

    def read(self, name: str) -> bytes:
        return read_file(self.path / name)

    def size(self, name: str) -> int:
        """The bytes that a picture takes where it lies."""

        return self._stat(name).st_size

    def stamp(self, name: str) -> str:
        """Another text where the picture may be another one."""

        info = self._stat(name)
        return f"{(self.path / name).absolute()}:{info.st_size}:{info.st_mtime_ns}"

    def _stat(self, name: str) -> os.stat_result:
        file = self.path / name
        try:
            info = file.stat()
        except OSError as e:
            raise DataError(f"{file} can't be read: {e.strerror}", "check the path, or remove it") from None
        if not stat.S_ISREG(info.st_mode):
            raise DataError(f"{file} is no regular file", "remove it")
        return info


class Zip:
    """The pictures of a zip, which is open as long as `stack` is."""

    def __init__(self, path: Path, stack: ExitStack):
        try:
            self.archive = stack.enter_context(zipfile.ZipFile(path))
        except Exception as e:  # zipfile says many things about damaged files
            raise DataError(f"{path} can't be read: {e}", "check that it is a complete zip file") from None
        found = [i for i in self.archive.infolist() if i.filename and not i.is_dir() and _is_picture(i.filename, path)]
        self.infos = {i.filename: i for i in found}
        self.path, self.names = path, sorted(i.filename for i in found)
        twice = next((a for a, b in zip(self.names, self.names[1:], strict=False) if a == b), None)
        if twice is not None:
            raise DataError(f"{path} has two files called {twice}", "make the zip again, with each file once")

    def title(self, name: str) -> str:
        return f"{self.path}: {name}"

    def size(self, name: str) -> int:
        return self.infos[name].compress_size

    def stamp(self, name: str) -> str:
        return f"{self.infos[name].CRC}:{self.infos[name].file_size}"

    def read(self, name: str) -> bytes:
        try:
            with self.archive.open(self.infos[name]) as file:
                return read_limited(file, self.title(name))
        except DataError:
            raise
        except Exception as e:  # zipfile and its decompressors say many things about damaged files
            raise DataError(f"{self.path}: {name} can't be read: {e}", "make the zip again") from None


def _walk(folder: Path) -> list[str]:
    """Returns the names of the files below a folder, with the folders on the way, without what is hidden."""

    def refuse(e: OSError) -> None:
        raise DataError(f"{e.filename} can't be read: {e.strerror}", "check its permissions, or remove it")

    names: list[str] = []
    for place, folders, files in os.walk(folder, followlinks=True, onerror=refuse):
        here = os.path.realpath(place)
        folders[:] = [f for f in folders if not _is_hidden(f)]
        for name in folders:
            inside = os.path.realpath(os.path.join(place, name))
            if here == inside or here.startswith(inside + os.sep):
                raise DataError(f"{os.path.join(place, name)} leads back to a folder that it is in", "remove the link")
        names += [os.path.relpath(os.path.join(place, file), folder) for file in files]
    return names


def _is_hidden(part: str) -> bool:
    return part.startswith((".", "__MACOSX"))


def _is_picture(name: str, path: Path) -> bool:
    """Whether a file is one of the data; raises for pictures that are not read."""

    if any(map(_is_hidden, PurePosixPath(name.replace(os.sep, "/")).parts)):
        return False
    if name.lower().endswith(OTHERS):
        raise DataError(f"{path}: {name} is no PNG or JPEG by its name", "convert or remove it")
    return name.lower().endswith(SUFFIXES)


# --- decoding them all -----------------------------------------------------------------------------


def _decode_all(source: Folder | Zip, wanted: Wanted) -> np.ndarray:
    """Returns all pictures of a source, uint8 `(N, C, H, W)`, from the cache where it has them."""

    names = source.names
    stamps = [(name, source.stamp(name)) for name in names]
    first = decode(source.read(names[0]), source.title(names[0]), wanted)
    shape = (len(names), *first.shape)
    total, packed = first.nbytes * len(names), sum(map(source.size, names))
    if total > max(_UNPACKED, _RATIO * packed):
        raise DataError(
            f"{source.path}: {len(names)} images of {packed:,} bytes unpack to {total:,}",
            "use fewer or smaller images",
        )
    fill = partial(_fill, source, wanted, first)
    if total < _CACHE_FROM:
        return fill(np.empty(shape, np.uint8))
    key = hashlib.blake2b(repr((_VERSION, wanted, stamps)).encode(), digest_size=16).hexdigest()
    cached = cache_folder() / f"{source.path.stem}-{key}.npy"
    kept = _kept(cached, shape)
    if kept is not None:
        return kept
    try:
        cached.parent.mkdir(parents=True, exist_ok=True)
        with hidden(cached) as temporary:
            on_disk = np.lib.format.open_memmap(temporary, "w+", np.uint8, shape)
            fill(on_disk)
            on_disk.flush()
            os.replace(temporary, cached)
        kept = _kept(cached, shape)
    except OSError:
        pass  # no writable cache: keep them in memory
    return fill(np.empty(shape, np.uint8)) if kept is None else kept


def _kept(cached: Path, shape: tuple[int, ...]) -> np.ndarray | None:
    """Returns the images of an earlier decoding, or None."""

    try:
        array: np.ndarray = np.load(cached, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError):
        return None
    return array if array.shape == shape and array.dtype == np.uint8 else None


def _fill(source: Folder | Zip, wanted: Wanted, first: np.ndarray, array: np.ndarray) -> np.ndarray:
    """Decodes all pictures of a source into an array; each must have the shape of the first."""

    def one(name: str) -> np.ndarray:
        return decode(source.read(name), source.title(name), wanted, (first.shape, source.names[0]))

    with ThreadPoolExecutor(min(_THREADS, os.cpu_count() or 1)) as pool:
        for i, image in enumerate(pool.map(one, source.names)):
            array[i] = image
    return array
