"""How a file was made: the record that pictures, arrays and animations carry, from which they can be made again.

A call that draws opens :func:`making`, and the writers take the record from :func:`text`. Nothing in it says when or
by whom: equal samples make equal files.
"""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import msgspec
import torch
from torch import Tensor

from ..files.atomic import replacing
from ..model import Model
from .settings import model_name

SCHEMA = 1
#: The key of a record in the text of a PNG and in the metadata of a safetensors file.
KEY = "dgm"

_RECORD: ContextVar[dict[str, Any] | None] = ContextVar("record", default=None)


@contextmanager
def making(call: str, model: Model, *, name: str | None = None, **arguments: Any) -> Iterator[None]:
    """What is written in the block carries a record of this call; one that is open already knows more, and stays.

    Arguments:
        call: What is done: `sample`, `score`, `interpolate`, `reconstruct`.
        model: What does it; the record has the sha256 of all its weights, as they are in memory and as files.
        name: What the user called it; None takes the entry's name.
        arguments: What it is done with; tensors are recorded by their digest.
    """
    if _RECORD.get() is not None:
        yield
        return
    options = (model.scoring if call == "score" else model.sampling)(arguments.pop("options", None))
    said = {key: value for key, value in arguments.items() if value is not None}
    made = {KEY: SCHEMA, "call": call, "model": name or model_name(model), "arguments": said, "options": options}
    later = {"density": None, "samples": None}  # in this order, whichever is known first
    token = _RECORD.set(msgspec.to_builtins({**made, **_described(model), **later}, enc_hook=_other))
    try:
        yield
    finally:
        _RECORD.reset(token)


def add(**facts: Any) -> None:
    """Adds to the open record what is known by now."""
    record = _RECORD.get()
    if record is not None:
        record.update(facts)


def known(fact: str) -> Any:
    """Returns what the open record says already, or None."""
    return (_RECORD.get() or {}).get(fact)


def text(**facts: Any) -> str:
    """Returns the open record as JSON in ASCII, with what is particular to one file; an empty text if none is open."""
    record = _RECORD.get()
    if record is None:
        return ""
    return json.dumps({k: v for k, v in {**record, **facts}.items() if v is not None}, separators=(",", ":"))


def write_sidecar(path: Path) -> None:
    """Writes the open record beside a file whose format has no place for it, as `FILE.json`."""
    if text() and path.is_file():  # not for a pipe
        with replacing(path.with_name(f"{path.name}.json")) as file:
            file.write(f"{json.dumps(json.loads(text()), indent=2)}\n".encode())


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
