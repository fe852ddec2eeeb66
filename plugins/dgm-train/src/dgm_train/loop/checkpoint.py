"""Checkpoints: one safetensors file each, tensors and (as its metadata) JSON, written atomically."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from dgmcore.errors import TrainingError

if TYPE_CHECKING:
    from .distributed import Processes

__all__ = ["last_checkpoint", "load_into", "read", "read_shared", "state_of", "under", "write", "write_shared"]


def write(path: Path, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes a file that is complete or not there."""

    from safetensors.torch import save_file

    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:  # safetensors wants each tensor on its own
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        plain[name] = tensor
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file(plain, temporary, metadata={"dgm": json.dumps(meta)})
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except Exception as e:  # safetensors wraps the system's errors
        raise TrainingError(f"can't write the checkpoint {path}: {e}", "check the disk's free space") from e
    finally:
        temporary.unlink(missing_ok=True)


def read(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns the tensors and the JSON of a checkpoint."""

    from safetensors import safe_open

    try:
        with safe_open(path, "pt") as file:
            meta = json.loads((file.metadata() or {})["dgm"])
            return {name: file.get_tensor(name) for name in file.keys()}, meta  # noqa: SIM118
    except Exception as e:  # safetensors has an error type of its own
        raise TrainingError(f"the checkpoint {path} can't be read: {e}", "delete it, and --resume from scratch") from e


def write_shared(folder: Path, processes: Processes, tensors: Mapping[str, Tensor], meta: Mapping[str, Any]) -> None:
    """Writes the state of all processes, and removes the checkpoints before.

    Weights and optimisers are equal everywhere; of the other processes there is the phase's own state (`phase.*`)
    in a file each. The main process's file, written last, makes it a checkpoint.
    """

    path = _path(folder, meta["phase"], meta["step"], processes.rank)
    own = {name: tensor for name, tensor in tensors.items() if name.startswith("phase.")}
    if not processes.main and own:
        write(path, own, meta)
    processes.barrier()
    if processes.main:
        write(path, tensors, meta)
        _remove_others(folder, path)


def read_shared(path: Path, processes: Processes) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Returns a checkpoint as this process sees it."""

    tensors, meta = read(path)
    own = _path(path.parent, meta["phase"], meta["step"], processes.rank)
    if not processes.main and own.exists():
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("phase.")}
        tensors |= read(own)[0]
    return tensors, meta


def _path(folder: Path, phase: int, step: int, rank: int = 0) -> Path:
    return folder / f"{phase:02d}-{step:09d}{f'.rank{rank}' if rank else ''}.safetensors"


def last_checkpoint(folder: Path) -> Path | None:
    """Returns the newest complete checkpoint."""

    found = sorted(p for p in folder.glob("[0-9][0-9]-*.safetensors") if ".rank" not in p.name)
    return found[-1] if found else None


def _remove_others(folder: Path, keep: Path) -> None:
    """Removes the checkpoints before `keep`, and what killed runs left."""

    stem = keep.name.removesuffix(".safetensors")
    for path in [*folder.glob("[0-9][0-9]-*.safetensors"), *folder.glob(".*.tmp")]:
        if not path.name.startswith(stem):
            path.unlink(missing_ok=True)


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Returns a module's tensors; of a model those of its own file (parts that are entries do not change)."""

    own = getattr(module, "own_state", None)
    return module.state_dict() if own is None else own()


@torch.no_grad()
def load_into(module: nn.Module, tensors: Mapping[str, Tensor], source: str) -> None:
    """Copies tensors into a module, whose own they must be by name and shape."""

    wanted = state_of(module)
    if set(wanted) != set(tensors):
        odd = sorted(set(wanted) ^ set(tensors))[0]
        raise TrainingError(f"{source} is of another model: {odd} is in one of them only", "start a new run")
    for name, tensor in wanted.items():
        if tensor.shape != tensors[name].shape:
            raise TrainingError(
                f"{source} is of another model: {name} is {tuple(tensors[name].shape)}, not {tuple(tensor.shape)}",
                "start a new run",
            )
        tensor.copy_(tensors[name])


def under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Returns the tensors whose names begin with `prefix`, without it."""

    return {name[len(prefix) :]: tensor for name, tensor in tensors.items() if name.startswith(prefix)}
