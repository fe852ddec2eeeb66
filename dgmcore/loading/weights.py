"""Where weights come from, and whether they may be trusted.

Weights are looked for beside the entry, then in the Hugging Face cache, then on the Hub. Whatever the
source, the file must have the entry's size and sha256; it is checked tensor by tensor before a
parameter is touched, and it is only ever read as safetensors.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError
from ..files.safetensors import read_header
from ..files.verify import verify

if TYPE_CHECKING:
    from torch import Tensor

    from ..entry import Entry
    from ..model import Model

__all__ = ["beside", "check_file", "locate", "read_into"]


# --- where -----------------------------------------------------------------------------------------


def locate(located: Any, revision: str | None = None) -> Path:
    """Returns the verified weights of an entry: beside it, in the Hugging Face cache, or from the Hub.

    Arguments:
        located: What :func:`dgmcore.registry.find.find` returned.
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
    from . import pull as hub  # imports huggingface_hub: only where the file is not at hand

    return hub.fetch_weights(located, revision)


def beside(located: Any) -> Path | None:
    """Returns the weights file in the entry's own folder, if it is there."""

    entry = located.entry
    if located.folder is None or entry.weights is None:
        return None
    path = Path(located.folder) / entry.weights.file
    return path if path.is_file() else None


# --- trust -----------------------------------------------------------------------------------------


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
