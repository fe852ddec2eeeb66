"""Checkpoints: one safetensors file each, tensors and (as its metadata) JSON, written atomically."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import msgspec
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from dgmcore.errors import TrainingError
from dgmcore.files.atomic import hidden

from ..parallel.distributed import Processes
from .progress import Progress

__all__ = [
    "Checkpoint",
    "last_checkpoint",
    "load_into",
    "read",
    "read_shared",
    "size_of",
    "state_of",
    "under",
    "write",
    "write_shared",
]


class Checkpoint(msgspec.Struct):
    """All that a run needs to go on.

    Attributes:
        tensors: By name: `model.*`, `ema.*`, `phase.*`, and `optimizer.NAME/*`.
        progress: The rest.
    """

    tensors: dict[str, Tensor]
    progress: Progress

    def under(self, prefix: str) -> dict[str, Tensor]:
        """Returns the tensors whose names begin with `prefix`, without it."""

        return under(prefix, self.tensors)


def write(path: Path, checkpoint: Checkpoint) -> None:
    """Writes a file that is complete or not there, also after a power cut."""

    seen: set[int] = set()
    plain: dict[str, Tensor] = {}
    for name, tensor in checkpoint.tensors.items():
        tensor = tensor.detach().cpu().contiguous()
        if tensor.untyped_storage().data_ptr() in seen:  # safetensors wants each tensor on its own
            tensor = tensor.clone()
        seen.add(tensor.untyped_storage().data_ptr())
        plain[name] = tensor
    metadata = {"dgm": msgspec.json.encode(checkpoint.progress).decode()}
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with hidden(path) as temporary:
            save_file(plain, temporary, metadata=metadata)
            _synchronize(temporary)
            os.replace(temporary, path)
        _synchronize(path.parent)
    except Exception as e:  # safetensors wraps the system's errors
        raise TrainingError(f"can't write the checkpoint {path}: {e}", "check the disk's free space") from e


def _synchronize(path: Path) -> None:
    """Waits until a file or folder is on the disk; Windows does not open folders."""

    if path.is_dir() and os.name == "nt":
        return
    handle = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def read(path: Path) -> Checkpoint:
    """Reads what :func:`write` wrote."""

    try:
        with safe_open(path, "pt") as file:
            progress = msgspec.json.decode((file.metadata() or {})["dgm"], type=Progress)
            return Checkpoint({name: file.get_tensor(name) for name in file.keys()}, progress)  # noqa: SIM118
    except Exception as e:  # safetensors has an error type of its own
        raise TrainingError(f"the checkpoint {path} can't be read: {e}", "delete it, and --resume from scratch") from e


def write_shared(folder: Path, processes: Processes, checkpoint: Checkpoint) -> None:
    """Writes the state of all processes, and removes the checkpoints before.

    Weights and optimisers are equal everywhere; of the other processes there is the phase's own state (`phase.*`)
    in a file each. The main process's file, written last, makes it a checkpoint.
    """

    path = _path(folder, checkpoint.progress, processes.rank)
    own = {name: tensor for name, tensor in checkpoint.tensors.items() if name.startswith("phase.")}
    if not processes.main and own:
        write(path, Checkpoint(own, checkpoint.progress))
    processes.barrier()
    if processes.main:
        write(path, checkpoint)
        _remove_others(folder, path)


def read_shared(path: Path, processes: Processes) -> Checkpoint:
    """Returns a checkpoint as this process sees it."""

    whole = read(path)
    own = _path(path.parent, whole.progress, processes.rank)
    if processes.main or not own.exists():
        return whole
    others = {name: tensor for name, tensor in whole.tensors.items() if not name.startswith("phase.")}
    return Checkpoint(others | read(own).tensors, whole.progress)


def _path(folder: Path, progress: Progress, rank: int = 0) -> Path:
    return folder / f"{progress.phase:02d}-{progress.step:09d}{f'.rank{rank}' if rank else ''}.safetensors"


def last_checkpoint(folder: Path) -> Path | None:
    """Returns the newest complete checkpoint."""

    found = sorted(p for p in folder.glob("[0-9][0-9]-*.safetensors") if ".rank" not in p.name)
    return found[-1] if found else None


def _remove_others(folder: Path, keep: Path) -> None:
    """Removes the checkpoints before `keep`, and what killed runs left."""

    stem = keep.name.removesuffix(".safetensors")
    for path in [*folder.glob("[0-9][0-9]-*.safetensors"), *folder.glob(".*.tmp")]:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        elif not path.name.startswith(stem):
            path.unlink(missing_ok=True)


# --- tensors ----------------------------------------------------------------------------------------


def state_of(module: nn.Module) -> dict[str, Tensor]:
    """Returns a module's tensors; of a model those of its own file (parts that are entries do not change)."""

    own = getattr(module, "own_state", None)
    state: dict[str, Tensor] = module.state_dict() if own is None else own()
    return state


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


def size_of(tensors: Mapping[str, Tensor]) -> int:
    """Returns the bytes that tensors take in a file."""

    return sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
