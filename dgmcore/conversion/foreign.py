"""Reading checkpoints of other programs without running what is in them.

A checkpoint is read by torch with `weights_only=True`: tensors, numbers, strings and containers. Beyond torch's own
list only the classes that a converter names are let in, and they must be plain holders of data; this is the whole
list of what the converters here name: `argparse.Namespace`.
"""

from __future__ import annotations

import os
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import msgspec
import torch
from safetensors.torch import load_file

from ..errors import WeightsError
from ..files.safetensors import read_header

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_checkpoint", "shards_of", "tensors_of"]

#: Where programs keep the weights inside a checkpoint.
CONTAINERS = ("state_dict", "model_state_dict", "model", "netG_dict", "ema", "params_ema", "module")
#: What wrappers (data-parallel training, compilation) put before every name.
PREFIXES = ("module.", "_orig_mod.")

_MAX_INDEX = 1 << 24  # bytes of an index of shards
_SHARED = 4  # times the file's size that its tensors may have together: some share what is stored


def read_checkpoint(path: str | os.PathLike[str], allow: Iterable[type] = ()) -> dict[str, Any]:
    """Reads a checkpoint: torch's old and zip formats with `weights_only=True`, safetensors, or an index of either.

    Arguments:
        path: The file. A `.index.json` names the files that large models are cut into, which lie beside it.
        allow: Classes beyond torch's own list that may be in it; plain holders of data such as
            `argparse.Namespace`.

    Returns:
        What is in the file, a mapping; see :func:`tensors_of` for the weights in it.

    Raises:
        WeightsError: If the file is missing, holds code, is no checkpoint, or has tensors that are larger than what is
            stored of them.
    """
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no file {path}", "check the path")
    if path.name.endswith(".json"):
        return _read_shards(path, allow)
    if path.suffix == ".safetensors":
        read_header(path)
        return load_file(path)
    _check_archive(path)
    found = _load(path, allow)
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} holds a {type(found).__name__}, not named tensors", "save a state_dict()")
    _check_sizes(found, path)
    return dict(found)


class _Index(msgspec.Struct):
    """What an index of shards says: the file of each tensor."""

    weight_map: dict[str, str]


def shards_of(index: Path) -> dict[str, list[str]]:
    """Returns the names of the tensors in each file that an index names.

    Raises:
        WeightsError: If it is no index, or names files elsewhere.
    """
    try:
        with index.open("rb") as file:
            found = msgspec.json.decode(file.read(_MAX_INDEX + 1)[:_MAX_INDEX], type=_Index)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise WeightsError(f"{index} is no index of weights", "give the weights, or the folder they are in") from None
    shards: dict[str, list[str]] = {}
    for tensor, name in found.weight_map.items():
        if Path(name).name != name or name.endswith(".json"):
            raise WeightsError(f"{index} names {name!r:.80}, which is no file beside it", "get the file again")
        shards.setdefault(name, []).append(tensor)
    return shards


def _read_shards(index: Path, allow: Iterable[type]) -> dict[str, Any]:
    """Returns the tensors of all files that an index names, each from the file that should have it."""
    whole: dict[str, Any] = {}
    for name, wanted in shards_of(index).items():
        part = tensors_of(read_checkpoint(index.parent / name, allow))
        missing = [tensor for tensor in wanted if tensor not in part]
        if missing or len(part) != len(wanted):
            raise WeightsError(
                f"{name} does not hold what {index.name} says: {(missing or sorted(set(part) - set(wanted)))[0]}",
                "get both files again",
            )
        whole |= part
    return whole


def _load(path: Path, allow: Iterable[type]) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allow)):
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnpicklingError as e:
        text = " ".join(str(e).split())
        _, marker, name = text.partition("Unsupported global: GLOBAL ")
        what = f"it holds the class or function {name.split()[0]}" if marker else "it is more than data"
        raise WeightsError(
            f"{path} is not read: {what}", "load it where it was made and save its state_dict() alone"
        ) from None
    except Exception as e:  # damaged files make torch raise nearly anything
        brief = str(e).strip().splitlines()
        raise WeightsError(
            f"{path} is no checkpoint that torch can read: {brief[0][:160] if brief else type(e).__name__}",
            "get the file again, or choose another",
        ) from None


def _check_archive(path: Path) -> None:
    """Refuses archives that grow when they are read; torch stores its own uncompressed."""
    try:
        if not zipfile.is_zipfile(path):
            return
        with zipfile.ZipFile(path) as archive:
            packed = [i.filename for i in archive.infolist() if i.compress_type != zipfile.ZIP_STORED]
            size = sum(i.file_size for i in archive.infolist())
    except Exception as e:  # damaged archives make zipfile raise nearly anything
        raise WeightsError(f"{path} is a damaged archive: {e}", "get the file again") from None
    if packed or size > path.stat().st_size:
        raise WeightsError(f"{path} is a compressed archive, which torch does not write", "unpack it first")


def _check_sizes(found: Mapping[str, Any], path: Path) -> None:
    """Refuses tensors of more numbers than are stored, which a few bytes can ask for: a zero expanded to any shape."""
    left = _SHARED * path.stat().st_size + 2**20
    seen: set[int] = set()  # a container may be in itself, or in a thousand others
    waiting: list[tuple[str, Any]] = list(found.items())
    while waiting:
        name, value = waiting.pop()
        if id(value) in seen:
            continue
        seen.add(id(value))
        if isinstance(value, torch.Tensor):
            if value.layout != torch.strided or value.device.type != "cpu":
                raise WeightsError(f"{path}: the tensor {name} is no plain one", "save plain tensors")
            size = value.numel() * value.element_size()
            left -= size
            if size > value.untyped_storage().nbytes() or left < 0:
                raise WeightsError(
                    f"{path}: the tensor {name} has {value.numel():,} numbers, more than the file stores",
                    "save it where it was made with .contiguous()",
                )
        elif isinstance(value, Mapping):
            waiting += [(str(key), inner) for key, inner in value.items()]
        elif isinstance(value, list | tuple | set):
            waiting += [(name, inner) for inner in value]
        elif hasattr(value, "__dict__"):
            waiting += list(vars(value).items())


def tensors_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights in a checkpoint: without the state of optimisers, without prefixes of wrappers.

    Example:
        >>> import torch
        >>> tensors_of({"state_dict": {"module.w": torch.ones(2)}, "optimizer": {}, "epoch": 3})
        {'w': tensor([1., 1.])}
    """
    inner = checkpoint
    if not any(isinstance(v, torch.Tensor) for v in checkpoint.values()):
        inner = next((checkpoint[k] for k in CONTAINERS if isinstance(checkpoint.get(k), Mapping)), checkpoint)
    state = {str(k): v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    while prefix := next((p for p in PREFIXES if state and all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    if not state:
        raise WeightsError("the checkpoint holds no named tensors", "save a state_dict()")
    return state
