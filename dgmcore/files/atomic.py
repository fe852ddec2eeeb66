"""Files and folders that appear whole or not at all: the only place where files are replaced.

What is being written lies in a hidden folder beside its target, with a lock that the system takes back from a process
that dies. So the next run to the same target knows what nobody writes any more, and removes it.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from ..errors import DgmError
from ..suggestions import hint_of


def write_error(path: Path, error: OSError) -> DgmError:
    """Returns the error to show when `path` can't be written."""
    hint = hint_of(error, "--out", "choose another place with --out")
    return DgmError(f"can't write {path}: {error.strerror or error}", hint)


@contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
    """Yields a file that takes the name `path` if the block succeeds, and vanishes otherwise.

    The folder is made if need be. A file of that name is replaced in one step, by one with the same permissions.
    A link is followed; a pipe or a device is written to as it is. Raises a DgmError if the file can't be written.
    """
    path = Path(path)
    try:
        if is_stream(path):
            with path.open("wb") as file:
                yield file
            return
        target = Path(os.path.realpath(path))
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with hidden(target) as temporary:
            with temporary.open("wb") as file:
                yield file
            _name(temporary, target)
    except OSError as e:
        raise write_error(path, e) from e


@contextmanager
def replacing_folder(path: str | os.PathLike[str], *, last: str | None = None) -> Iterator[Path]:
    """Yields an empty folder whose files are in the folder `path` if the block succeeds, and vanish otherwise.

    A new folder appears in one step. One that is there keeps its other files, and those of the same names are
    replaced one by one, `last` the one of this name, which makes the others count. Raises as :func:`replacing`.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not path.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR))
        with hidden(path, folder=True) as stage:
            yield stage
            if not path.exists():
                os.rename(stage, path)
                return
            for file in sorted((p for p in stage.rglob("*") if p.is_file()), key=lambda p: (p.name == last, p)):
                target = path / file.relative_to(stage)
                target.parent.mkdir(parents=True, exist_ok=True)
                _name(file, target)
    except OSError as e:
        raise write_error(path, e) from e


@contextmanager
def hidden(path: str | os.PathLike[str], *, folder: bool = False) -> Iterator[Path]:
    """Yields a new, empty, hidden file (or folder) near `path` that is gone after the block, if it was not renamed.

    What killed processes left of earlier attempts at `path` is removed first. Raises an OSError if it can't be made.
    """
    from filelock import FileLock  # 20 ms, and most commands write nothing

    path = Path(path)
    name = path.with_name(f".{path.name[:200]}.{os.urandom(4).hex()}.tmp") / "new"
    pattern = rf"\.{re.escape(path.name[:200])}\.(part\d+\.)?[0-9a-f]{{8}}\.tmp"
    with suppress(OSError), os.scandir(path.parent) as items:
        for left in [i.path for i in items if re.fullmatch(pattern, i.name) and i.is_dir(follow_symlinks=False)]:
            with suppress(OSError), FileLock(os.path.join(left, "lock"), timeout=0):  # a Timeout is an OSError
                shutil.rmtree(left, ignore_errors=True)
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, name.parent, ignore_errors=True)
        while not name.exists():  # until nobody has swept it away between its making and its lock
            name.parent.mkdir()
            with suppress(FileNotFoundError):
                stack.enter_context(FileLock(name.parent / "lock"))
                name.mkdir() if folder else name.touch()
        yield name


def is_stream(path: Path) -> bool:
    """Whether what has a name is no file or folder that could be replaced, such as a pipe or `/dev/stdout`."""
    special = os.path.exists(path) and not os.path.isfile(path) and not os.path.isdir(path)
    return special or os.path.abspath(path).startswith(("/dev/fd/", "/dev/std", "/proc/"))


def _name(file: Path, target: Path) -> None:
    """Gives a finished file its name, and the permissions of the one that has it."""
    with suppress(FileNotFoundError):
        file.chmod(stat.S_IMODE(target.stat().st_mode))
    os.replace(file, target)
