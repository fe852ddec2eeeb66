"""What differs between a file and the same file made again, and what has changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dgmcore.files.yaml import dump

from .reading import Record, pictures_of, read_contents, read_record

__all__ = ["Replayed", "changes", "compare"]

#: What a record says of the call, which both have in common, and of the file itself.
_COMMON = ("dgm", "call", "model", "index", "samples")


class Replayed(msgspec.Struct):
    """The result of a replay.

    Attributes:
        file: The file.
        equal: Whether its samples are equal, bit by bit.
        differences: What differs between the two files, a line each.
        changed: What has changed since the file was made, a line each.
    """

    file: str
    equal: bool
    differences: list[str]
    changed: list[str]


def compare(old: Path, new: Path, then: Record) -> Replayed:
    """Compares a file with the same file made again.

    Arguments:
        old: The file, or a folder of pictures.
        new: What was made now.
        then: The record of the old one.
    """

    if old.is_dir():
        differences = list(_of_folders(old, new))
        now = read_record(new)
    else:
        now = read_record(new)
        differences = list(_of_files(old, new, then, now))
    return Replayed(str(old), not differences, differences, list(changes(then, now)))


def _of_folders(old: Path, new: Path) -> Iterator[str]:
    before, after = ({p.name: p for p in pictures_of(folder)} for folder in (old, new))
    for name in sorted(before.keys() | after.keys()):
        if name not in before or name not in after:
            yield f"{name} is {'not in the folder' if name not in before else 'not among the samples'}"
        elif before[name].read_bytes() != after[name].read_bytes():
            yield from (f"{name}: {line}" for line in _of_arrays(before[name], after[name]))


def _of_files(old: Path, new: Path, then: Record, now: Record) -> Iterator[str]:
    if old.read_bytes() == new.read_bytes() and then.samples == now.samples:
        return
    found = list(_of_arrays(old, new))
    same_samples = then.samples is not None and then.samples == now.samples
    if found and _was_changed(old, then):
        yield "the file was changed after it was written: the samples of its record are not in it"
    elif found and same_samples:
        yield "the samples are the same, their picture differs: it was changed, or drawn by another version"
    elif not found and then.samples != now.samples and then.samples and now.samples:
        yield "the samples differ by less than the file can show"
    yield from found


def _was_changed(path: Path, then: Record) -> bool:
    """Whether a file of numbers has others than its record says."""

    if then.samples is None or path.suffix.lower() not in (".npy", ".npz", ".csv"):
        return False
    numbers = np.ascontiguousarray(read_contents(path), np.float32)
    return hashlib.sha256(numbers.tobytes()).hexdigest() != then.samples


def _of_arrays(old: Path, new: Path) -> Iterator[str]:
    a, b = read_contents(old), read_contents(new)
    if a.shape != b.shape or a.dtype != b.dtype:
        if old.suffix.lower() in (".svg", ".pdf"):
            yield "the drawing differs"
        else:
            yield f"{_shape(a)} in the file, {_shape(b)} now"
        return
    if a.tobytes() == b.tobytes():
        return
    gap = np.abs(a.astype(np.float64) - b.astype(np.float64))
    if old.suffix.lower() in (".png", ".gif"):
        share = float((gap > 0).mean())
        yield f"{share:.2%} of its pixels differ, by at most {gap.max():.0f} of 255"
    elif old.suffix.lower() in (".svg", ".pdf"):
        yield "the drawing differs"
    else:
        rows = int((gap.reshape(len(gap), -1) > 0).any(1).sum())
        yield f"{rows:,} of {len(a):,} samples differ, by at most {gap.max():.3g}"


def _shape(x: np.ndarray) -> str:
    return f"{'x'.join(map(str, x.shape))} {x.dtype}"


# --- what has changed -------------------------------------------------------------------------------


def changes(then: Record, now: Record) -> Iterator[str]:
    """Yields what has changed between two records, a line each, what explains most first."""

    yield from _of_weights(then, now)
    before, after = ({k: v for k, v in r.plain().items() if k not in _COMMON} for r in (then, now))
    for part in (before, after):
        part.pop("entries", None)
        part.pop("state", None)
    for path, old, new in _unequal(before, after):
        yield f"{path}: {_said(old)} then, {_said(new)} now"


def _of_weights(then: Record, now: Record) -> Iterator[str]:
    told = False
    for name in sorted(then.entries.keys() | now.entries.keys()):
        old, new = then.entries.get(name), now.entries.get(name)
        if old is None or new is None:
            yield f"{name} takes part {'now, and did not then' if old is None else 'no more'}"
            told = True
            continue
        if old.weights != new.weights:
            yield f"weights of {name}: sha256 {_short(old.weights)} then, {_short(new.weights)} now"
            told = True
        for path, a, b in _unequal(old.config, new.config):
            yield f"config of {name}: {path}: {_said(a)} then, {_said(b)} now"
            told = True
    if then.state != now.state and not told:
        yield f"weights in memory: sha256 {_short(then.state)} then, {_short(now.state)} now; the files are the same"


def _unequal(a: Any, b: Any, path: str = "") -> Iterator[tuple[str, Any, Any]]:
    """Yields the places where two trees of plain data differ."""

    if isinstance(a, dict) and isinstance(b, dict):
        for key in [*a, *(k for k in b if k not in a)]:
            yield from _unequal(a.get(key), b.get(key), f"{path}.{key}" if path else str(key))
    elif a != b:
        yield path, a, b


def _said(value: Any) -> str:
    return "none" if value is None else dump(value).strip().removesuffix("\n...")[:80]


def _short(sha256: str | None) -> str:
    return f"{sha256[:12]}..." if sha256 else "unknown"
