"""The record of how a file is made: all that its numbers depend on.

Nothing in it says when or by whom: equal samples make equal files.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import msgspec
import torch
from torch import Tensor

from dgmcore.model import Model
from dgmcore.sampling.provenance import KEY
from dgmcore.sampling.settings import model_name

__all__ = ["SCHEMA", "digest", "record"]

SCHEMA = 1


def record(call: str, model: Model, name: str | None, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the record of a call, as plain data; see :func:`dgmcore.sampling.provenance.making` for arguments."""
    said = {key: value for key, value in arguments.items() if value is not None}
    options = (model.scoring if call == "score" else model.sampling)(said.pop("options", None))
    made = {KEY: SCHEMA, "call": call, "model": name or model_name(model), "arguments": said, "options": options}
    later = {"density": None, "samples": None}  # in this order, whichever is known first
    plain: dict[str, Any] = msgspec.to_builtins({**made, **_described(model), **later}, enc_hook=_other)
    return plain


def digest(*tensors: Tensor) -> str:
    """Returns the sha256 of numbers, bit for bit; shapes and types count too."""
    found = hashlib.sha256()
    for x in tensors:
        found.update(f"{x.dtype} {tuple(x.shape)};".encode())
        found.update(x.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return found.hexdigest()


def _described(model: Model) -> dict[str, Any]:
    """Says of a model, and of the machine, all that its samples depend on."""
    state = model.state_dict()
    inner = {m.entry.name: m for m in model.modules() if isinstance(m, Model) and m.entry is not None}
    packages = {m.entry.package for m in inner.values() if m.entry is not None and m.entry.package}
    versions = {name: _version(name) for name in ("dgmcore", "numpy", "pillow", *sorted(packages))}
    return {
        "config": model.config_dict(),
        "noise": model.noise_version,
        "entries": {name: {"weights": _sha256(m), "config": m.config_dict()} for name, m in inner.items()},
        "state": digest(*(state[key] for key in sorted(state))),
        "device": model.device.type,
        "dtype": str(model.dtype).removeprefix("torch."),
        "threads": torch.get_num_threads(),  # the order of sums depends on them
        "processor": f"{platform.machine()} {torch.backends.cpu.get_cpu_capability()}",
        "versions": {**versions, "torch": str(torch.__version__)},
    }


def _sha256(model: Model) -> str | None:
    weights = model.entry.weights if model.entry is not None else None
    return weights.sha256 if weights is not None else None


def _version(distribution: str) -> str | None:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return None


def _other(value: Any) -> Any:
    """Says what JSON has no word for: a tensor by its shape and digest."""
    return {"shape": list(value.shape), "sha256": digest(value)} if isinstance(value, Tensor) else str(value)
