"""Whether a file is what somebody said it is: its size and its sha256."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import DgmError, WeightsError
from .atomic import replacing

if TYPE_CHECKING:
    from ..entry import Weights

__all__ = ["mismatch", "sha256_of", "verify"]


_MAX_REMEMBERED = 2000


def verify(path: Path, weights: Weights) -> None:
    """Checks a file's size and sha256 against the entry, once per state of the file.

    Raises:
        WeightsError: If they differ.
    """

    reason = mismatch(path, weights)
    if reason is not None:
        raise WeightsError(
            f"{path} is not what its entry describes: {reason}", "get the weights again; do not trust this file"
        )


def mismatch(path: Path, weights: Weights, digest: str | None = None) -> str | None:
    """Returns how a file differs from what the entry says, or None; what was verified before is not read again.

    Arguments:
        path: The file.
        weights: What it must be.
        digest: Its sha256, where that is known already.
    """

    state = path.stat()
    if weights.size is not None and state.st_size != weights.size:
        return f"it has {state.st_size:,} bytes, not {weights.size:,}"
    if weights.sha256 is None:
        return None
    key, mark = str(path.resolve()), _mark(state, weights.sha256)
    if digest is None and _remembered().get(key) == mark:
        return None
    found = digest or sha256_of(path)
    if found != weights.sha256:
        return f"its sha256 is {found[:12]}..., not {weights.sha256[:12]}..."
    _remember(key, mark)
    return None


def sha256_of(path: str | os.PathLike[str]) -> str:
    """Returns a file's sha256, in hexadecimal."""

    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _mark(state: os.stat_result, sha256: str) -> list[Any]:
    return [state.st_size, state.st_mtime_ns, state.st_ctime_ns, state.st_ino, sha256]


def _record() -> Path:
    from ..files.folders import user_cache

    return user_cache() / "verified.json"


def _remembered() -> dict[str, Any]:
    """Returns the verified states by path; empty where there are none or they can't be read."""
    try:
        found = json.loads(_record().read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _remember(key: str, mark: list[Any]) -> None:
    """Adds a verified state. A cache that can't be written costs a verification at the next load, no more."""
    record = _record()
    known = {k: v for k, v in _remembered().items() if k != key}
    known = dict(list(known.items())[-_MAX_REMEMBERED:]) | {key: mark}
    with suppress(DgmError), replacing(record) as file:
        file.write(json.dumps(known).encode())
