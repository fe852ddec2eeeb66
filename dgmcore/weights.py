"""Where weights come from, and whether they may be trusted.

Weights are looked for beside the entry, then in the Hugging Face cache, then on the Hub. Whatever the
source, the file must have the entry's size and sha256; it is checked tensor by tensor before a
parameter is touched, and it is only ever read as safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .errors import DgmError, WeightsError
from .files import replacing
from .safefile import read_header

if TYPE_CHECKING:
    from torch import Tensor

    from .entry import Entry, Weights
    from .model import Model

__all__ = ["beside", "check_file", "locate", "mismatch", "read_into", "sha256_of", "verify"]

_MAX_REMEMBERED = 2000


# --- where -----------------------------------------------------------------------------------------


def locate(located: Any, revision: str | None = None) -> Path:
    """Returns the verified weights of an entry: beside it, in the Hugging Face cache, or from the Hub.

    Arguments:
        located: What :func:`dgmcore.registry.find` returned.
        revision: Commit, tag or branch of the Hub repository, instead of the entry's own.

    Raises:
        WeightsError: If they are nowhere, or are not what the entry says.
    """

    entry: Entry = located.entry
    if entry.weights is None:
        raise WeightsError(f"{entry.name} has no weights", "its entry needs a section weights; see docs/weights.md")
    if revision is None:
        path = beside(located)
        if path is not None:
            verify(path, entry.weights)
            return path
    from . import hub  # imports huggingface_hub: only where the file is not at hand

    return hub.fetch_weights(located, revision)


def beside(located: Any) -> Path | None:
    """Returns the weights file in the entry's own folder, if it is there."""

    entry = located.entry
    if located.folder is None or entry.weights is None:
        return None
    path = Path(located.folder) / entry.weights.file
    return path if path.is_file() else None


# --- trust -----------------------------------------------------------------------------------------


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
    from .folders import user_cache

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


# --- reading ---------------------------------------------------------------------------------------


def read_into(model: Model, path: str | os.PathLike[str], *, names: dict[str, str] | None = None) -> None:
    """Copies a file's tensors into a model, in place: one memory map, one copy.

    The names, shapes and types of all tensors are checked before the first is copied. Tied tensors are
    stored once, under any of their names; the tie is the model's, so the copy reaches all of them.

    Arguments:
        model: The model; the tensors of its shared parts are not in the file.
        path: A safetensors file.
        names: For files of another library: the file's name for each of the model's names.

    Raises:
        WeightsError: If the file is invalid, or does not fit the model.
    """

    import torch
    from safetensors import safe_open

    plan = check_file(model, path, names=names)
    with torch.no_grad(), safe_open(path, framework="pt") as file:
        for (first, *others), _ in plan:
            for name in others:
                if not torch.equal(file.get_tensor(first), file.get_tensor(name)):
                    raise WeightsError(f"{path}: {first} and {name} are tied, but differ", "get the weights again")
        for (name, *_), target in plan:
            target.copy_(file.get_tensor(name))


def check_file(
    model: Model, path: str | os.PathLike[str], *, names: dict[str, str] | None = None
) -> list[tuple[list[str], Tensor]]:
    """Returns the file's names for each of the model's tensors, and that tensor, after checking that they fit.

    There are several names where the file repeats tied tensors.

    Raises:
        WeightsError: If the file is invalid or does not fit, with the first few problems.
    """

    names = names or {}
    header = read_header(path)
    plan: list[tuple[list[str], Tensor]] = []
    problems: list[str] = []
    unread = set(header)
    for group in model.own_groups():
        aliases = [names.get(name, name) for name in group]
        present = [name for name in aliases if name in header]
        if not present:
            problems.append(f"{aliases[0]} is missing")
            continue
        target = group[next(iter(group))]
        for name in present:
            unread.discard(name)
            info, want = header[name], tuple(target.shape)
            if info.shape != want:
                problems.append(f"{name} has the shape {list(info.shape)}, not {list(want)}")
            elif info.dtype != _CODES.get(str(target.dtype)):
                problems.append(f"{name} is {info.dtype}, not {_CODES.get(str(target.dtype), target.dtype)}")
        plan.append((present, target))
    problems += [f"{name} is unknown to the model" for name in header if name in unread]
    if problems:
        first = "; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else "")
        raise WeightsError(
            f"{path} does not fit {type(model).__name__}: {first}",
            "the weights belong to another config or architecture; nothing was changed",
        )
    return plan


_CODES = {
    "torch.bool": "BOOL",
    "torch.uint8": "U8",
    "torch.int8": "I8",
    "torch.int16": "I16",
    "torch.int32": "I32",
    "torch.int64": "I64",
    "torch.float16": "F16",
    "torch.bfloat16": "BF16",
    "torch.float32": "F32",
    "torch.float64": "F64",
    "torch.complex64": "C64",
}
