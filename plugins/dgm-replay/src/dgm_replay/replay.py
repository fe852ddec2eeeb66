"""`replay`: the one call behind `dgm replay`."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from dgmcore.files.atomic import replacing, replacing_folder

from .compare import Replayed, compare
from .reading import read_record
from .redraw import redraw

__all__ = ["replay"]


def replay(
    file: str | os.PathLike[str],
    *,
    model: str | None = None,
    init: str | os.PathLike[str] | None = None,
    device: str | None = None,
    out: str | os.PathLike[str] | None = None,
) -> Replayed:
    """Makes a file of samples again from its record, and compares the two bit by bit.

    Arguments:
        file: A picture, an animation, an array or a table that dgm wrote, or a folder of pictures.
        model: The model's name or folder, where it is not what it was called then.
        init: The picture that sampling started from, where it is not where it was then.
        device: Another device than then.
        out: Where to keep what is made now.

    Raises:
        DgmError: If the file has no record, or can't be made again.
    """

    path = Path(file).expanduser()
    then = read_record(path)
    if path.is_dir():
        then.index = None
    with tempfile.TemporaryDirectory(prefix="dgm-replay-") as folder:
        new = Path(folder) / (path.name if path.suffix else "samples")
        start = None if init is None else Path(init).expanduser()
        redraw(then, new, model=model, init=start, device=device)
        if out is not None:
            _keep(new, Path(out).expanduser())
        return compare(path, new, then)


def _keep(made: Path, out: Path) -> None:
    """Copies what was made, with the record beside it if it has one."""

    if made.is_dir():
        with replacing_folder(out) as stage:
            for picture in made.iterdir():
                (stage / picture.name).write_bytes(picture.read_bytes())
        return
    for source, target in ((made, out), (made.with_name(f"{made.name}.json"), out.with_name(f"{out.name}.json"))):
        if source.is_file():
            with replacing(target) as file:
                file.write(source.read_bytes())
