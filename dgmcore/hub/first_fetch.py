"""What weights were when they were first fetched, where their publisher states no sha256.

An entry may point at a repository of somebody else whose sha256 its author never had (`trust: first-fetch` in
`weights.hub`). The sha256 that the Hub states and the commit are then written down at the first fetch, in the
user's data folder, and whatever is read or fetched later must be the same bytes. Of `model.sig` it is the key's.
"""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

import msgspec

from ..config import Config
from ..entry import Sha256
from ..errors import WeightsError
from ..files.atomic import hidden, write_error
from ..files.folders import user_data


class Pin(Config):
    """What was fetched first: `commit` is the commit that the revision then was."""

    sha256: Sha256
    commit: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_-]{1,200}\Z")]
    size: int | None = None


def find(repo: str, file: str, revision: str | None) -> Pin | None:
    """Returns what was recorded, or None; raises a :class:`WeightsError` if the record is damaged."""
    path = path_of(repo, file, revision)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Pin)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except (OSError, msgspec.DecodeError) as e:
        what = f"can't read what {repo}/{file} was when it was first fetched: {e}"
        raise WeightsError(what, f"delete {path} to trust it anew") from None


def record(repo: str, file: str, revision: str | None, pin: Pin) -> Pin:
    """Records a pin and returns it; of several processes the first wins, and the others get its pin."""
    path = path_of(repo, file, revision)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden(path) as temporary:
            temporary.write_bytes(msgspec.json.encode(pin))
            with suppress(FileExistsError):
                os.link(temporary, path)
    except OSError as e:
        hint = "its publisher states no sha256, so it is only used if that can be written down"
        raise WeightsError(f"can't record what {repo}/{file} is: {write_error(path, e).what}", hint) from None
    return find(repo, file, revision) or pin


def path_of(repo: str, file: str, revision: str | None) -> Path:
    """Returns where the pin of a file is kept."""
    place = f"{repo}@{revision or 'main'}/{file}"
    odd = re.search(r"--|-/|/-|[^ -~]", place)  # ambiguous, or what no file's name may have
    name = quote(place, safe="@", errors="replace") if odd else place.replace("/", "--")
    return user_data() / "pins" / f"{name}.json"
