"""Tensors out of models into files, and back into models: checked before the first is changed."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import save_file
from torch import Tensor

from ..errors import WeightsError
from .verify import sha256_of


class Misfit(ValueError):
    """Tensors that do not fit, and why the first four of them do not."""


@torch.no_grad()
def copy_tensors(targets: Iterable[Mapping[str, Tensor]], source: Mapping[str, Tensor], *, cast: bool = False) -> None:
    """Copies tensors into others of the same names, shapes and types: all of them, or none.

    Arguments:
        targets: What is filled: each is one tensor under all of its names, and the source has it under any of them.
        source: What is copied, by name, and nothing else.
        cast: Whether the types may differ, as long as both are floating point or neither is.

    Raises:
        Misfit: If tensors are missing, unknown, of another shape or type, not finite, or tied but different.
    """
    plan: list[tuple[Tensor, Tensor]] = []
    problems: list[str] = []
    unread = dict.fromkeys(source)
    for group in targets:
        first, target = next(iter(group.items()))
        present = [name for name in group if name in source]
        for name in present:
            unread.pop(name, None)
        found = list(_problems(present, target, source, cast)) if present else [f"{first} is missing"]
        problems += found
        if not found:
            plan.append((target, source[present[0]]))
    problems += [f"{name} is unknown to the model" for name in unread]
    if problems:
        raise Misfit("; ".join(problems[:4]) + (f"; and {len(problems) - 4} more" if len(problems) > 4 else ""))
    for target, tensor in plan:
        target.copy_(tensor)


def _problems(names: list[str], target: Tensor, source: Mapping[str, Tensor], cast: bool) -> Iterator[str]:
    """Yields why what the source has under `names` does not fit the target."""
    for name in names:
        tensor = source[name]
        same = tensor.is_floating_point() == target.is_floating_point() if cast else tensor.dtype == target.dtype
        if tensor.shape != target.shape:
            yield f"{name} has the shape {list(tensor.shape)}, not {list(target.shape)}"
        elif not same:
            yield f"{name} is {tensor.dtype}, not {target.dtype}"
        elif bad := _not_finite(tensor):
            yield f"{bad:,} of the {tensor.numel():,} numbers of {name} are not finite"
        elif tensor.shape == source[names[0]].shape and not torch.equal(tensor, source[names[0]].to(tensor)):
            yield f"{names[0]} and {name} are tied, but differ"


def _not_finite(tensor: Tensor) -> int:
    """Returns how many numbers are not finite, in one pass where all are."""
    if not tensor.is_floating_point():
        return 0
    tensor = tensor.float() if tensor.element_size() == 1 else tensor  # there is no sum of 8-bit numbers
    if math.isfinite(tensor.sum().item()):
        return 0
    return tensor.numel() - int(torch.isfinite(tensor).sum())


class Written(NamedTuple):
    """A file that was written."""

    sha256: str
    size: int


def write_tensors(tensors: Mapping[str, Tensor], path: Path, *, dtype: str | None = None) -> Written:
    """Writes a safetensors file; tensors that share memory are stored each on its own.

    Floating-point numbers are rounded to `dtype`, if it is given. Raises a WeightsError if it can't be written, or a
    number is too large for the type.
    """
    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    if dtype is not None:
        if dtype not in ("float16", "bfloat16"):
            raise WeightsError(f"weights are not stored as {dtype}", "choose float16 or bfloat16, or leave it out")
        plain = {k: t.to(getattr(torch, dtype)) if t.is_floating_point() else t for k, t in plain.items()}
        if wrong := [k for k, t in plain.items() if _not_finite(t) > _not_finite(tensors[k])]:
            raise WeightsError(f"{wrong[0]} has numbers that are too large for {dtype}", "store it in bfloat16")
    seen: set[int] = set()
    for name, tensor in plain.items():
        start = tensor.untyped_storage().data_ptr()
        plain[name] = tensor.clone() if start in seen else tensor
        seen.add(start)
    try:
        path.touch()
        mode = path.stat().st_mode  # by the umask; safetensors writes what only the user may read
        save_file(plain, path, metadata={"format": "pt"})
        path.chmod(mode)
    except Exception as e:  # safetensors wraps the system's errors
        raise WeightsError(f"can't write {path.name}: {e}", "check the disk's free space") from e
    return Written(sha256_of(path), path.stat().st_size)
