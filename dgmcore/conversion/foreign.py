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
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["read_checkpoint", "tensors_of"]

#: Where programs keep the weights inside a checkpoint.
CONTAINERS = ("state_dict", "model_state_dict", "model", "netG_dict", "ema", "params_ema", "module")
#: What wrappers (data-parallel training, compilation) put before every name.
PREFIXES = ("module.", "_orig_mod.")


def read_checkpoint(path: str | os.PathLike[str], allow: Iterable[type] = ()) -> dict[str, Any]:
    """Reads a checkpoint: torch's old and zip formats with `weights_only=True`, or safetensors.

    Arguments:
        path: The file.
        allow: Classes beyond torch's own list that may be in it; plain holders of data such as
            `argparse.Namespace`.

    Returns:
        What is in the file, a mapping; see :func:`tensors_of` for the weights in it.

    Raises:
        WeightsError: If the file is missing, holds code, or is no checkpoint.
    """

    import pickle

    import torch

    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"there is no file {path}", "check the path")
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        from ..files.safetensors import read_header

        read_header(path)
        return load_file(path)
    _check_archive(path)
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(list(allow)):
            warnings.simplefilter("ignore")
            found = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as e:
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
    if not isinstance(found, Mapping):
        raise WeightsError(f"{path} holds a {type(found).__name__}, not named tensors", "save a state_dict()")
    return dict(found)


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


def tensors_of(checkpoint: Mapping[str, Any]) -> dict[str, Tensor]:
    """Returns the weights in a checkpoint: without the state of optimisers, without prefixes of wrappers.

    Example:
        >>> import torch
        >>> tensors_of({"state_dict": {"module.w": torch.ones(2)}, "optimizer": {}, "epoch": 3})
        {'w': tensor([1., 1.])}
    """

    import torch

    inner = checkpoint
    if not any(isinstance(v, torch.Tensor) for v in checkpoint.values()):
        inner = next((checkpoint[k] for k in CONTAINERS if isinstance(checkpoint.get(k), Mapping)), checkpoint)
    state = {str(k): v for k, v in inner.items() if isinstance(v, torch.Tensor)}
    while prefix := next((p for p in PREFIXES if state and all(k.startswith(p) for k in state)), None):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    if not state:
        raise WeightsError("the checkpoint holds no named tensors", "save a state_dict()")
    return state
