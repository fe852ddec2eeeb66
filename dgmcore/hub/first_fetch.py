"""What weights were when they were first fetched, where their publisher states no sha256.

An entry may point at a repository of somebody else whose sha256 its author never had (`trust: first-fetch` in
`weights.hub`). The sha256 that the Hub states and the commit are then written down at the first fetch, in the
user's data folder, and whatever is read or fetched later must be the same bytes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import msgspec

from ..config import Config
from ..entry import Sha256
from ..errors import WeightsError
from ..files.folders import user_data

__all__ = ["Pin", "find", "record"]


class Pin(Config):
    """What was fetched first: `commit` is the commit that the revision then was."""

    sha256: Sha256
    commit: str
    size: int | None = None


def path_of(repo: str, file: str, revision: str | None) -> Path:
    """Returns where the pin of a file is kept."""

    place = f"{repo}@{revision or 'main'}/{file}".replace("/", "--")
    return user_data() / "pins" / f"{place}.json"


def find(repo: str, file: str, revision: str | None) -> Pin | None:
    """Returns what was recorded, or None.

    Raises:
        WeightsError: If the record is damaged.
    """

    path = path_of(repo, file, revision)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pin)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as e:
        raise WeightsError(
            f"can't read what {repo}/{file} was when it was first fetched: {e}", f"delete {path} to trust it anew"
        ) from None


def record(repo: str, file: str, revision: str | None, pin: Pin) -> Pin:
    """Records a pin and returns it; of several processes the first wins, and the others get its pin."""

    import tempfile

    path = path_of(repo, file, revision)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=".pin-")
        try:
            with os.fdopen(handle, "w") as stream:
                json.dump(msgspec.to_builtins(pin), stream)
            os.link(temporary, path)
        except FileExistsError:
            return find(repo, file, revision) or pin
        finally:
            os.unlink(temporary)
    except OSError as e:
        raise WeightsError(
            f"can't record what {repo}/{file} is: {path.parent}: {e.strerror}",
            "its publisher states no sha256, so it is only used if that can be written down",
        ) from None
    return pin
