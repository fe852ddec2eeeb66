"""`dgm info FILE`: how a file was made, as its record says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from dgmcore import console

from .reading import Record, read_record

__all__ = ["describe_file"]


def describe_file(name: str, json: bool) -> None:
    """Prints the record of a file.

    Arguments:
        name: The file.
        json: Whether it is printed as JSON.

    Raises:
        DataError: If it has none.
    """

    path = Path(name).expanduser()
    record = read_record(path)
    if json:
        console.emit_json(record.plain())
        return
    console.heading(path.name, f"made by {record.model}")
    console.fields(list(_fields(record)))
    if record.options:
        console.heading("sampling options")
        console.fields([(key, _text(value)) for key, value in record.options.items()])
    console.heading("versions")
    console.fields([(key, value) for key, value in record.versions.items()])


def _fields(record: Record) -> Iterator[tuple[str, str | None]]:
    yield "call", record.call
    for key, value in record.arguments.items():
        yield key.replace("_", " "), _text(value)
    if record.index is not None:
        yield "sample", f"number {record.index}"
    for name, entry in record.entries.items():
        yield f"weights of {name}", entry.weights or "sha256 unknown"
    yield "weights in memory", record.state
    yield "samples", record.samples
    yield "noise", f"version {record.noise}"
    yield "machine", f"{record.device}, {record.processor}, {record.dtype}, {record.threads} threads"


def _text(value: Any) -> str:
    if isinstance(value, dict) and "sha256" in value:
        return f"{'x'.join(map(str, value.get('shape', [])))}, sha256 {value['sha256']}"
    return console.printable(str(value)) if not isinstance(value, float) else f"{value:g}"
