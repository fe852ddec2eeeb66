"""How a file was made: the record that pictures, arrays and animations carry, from which they can be made again.

A call that draws opens :func:`making`, and the writers take the record from :func:`text`. What is in it says
dgm-replay; without that plugin there is none.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from .. import plugins
from ..files.atomic import is_stream, replacing
from ..model import Model

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
    if _RECORD.get() is not None or "record" not in plugins.calls():
        yield
        return
    token = _RECORD.set(plugins.call("record")(call, model, name, arguments))
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
    if text() and path.is_file() and not is_stream(path):  # not for a pipe, a descriptor
        with replacing(path.with_name(f"{path.name}.json")) as file:
            file.write(f"{json.dumps(json.loads(text()), indent=2)}\n".encode())
