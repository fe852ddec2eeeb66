"""Makes a file again from its record."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

from dgmcore import plugins
from dgmcore.cli.commands.sample import initial
from dgmcore.cli.commands.score import write_scores
from dgmcore.cli.tilt_option import asked
from dgmcore.data import open_for
from dgmcore.errors import DataError, UsageError
from dgmcore.files.atomic import replacing
from dgmcore.loading.load import load
from dgmcore.model import Model
from dgmcore.sampling.draw import sample_to, stream
from dgmcore.sampling.pictures import to_uint8, write_png
from dgmcore.sampling.provenance import add, making
from dgmcore.sampling.scores import score
from dgmcore.sampling.settings import model_range

from .reading import Record

__all__ = ["redraw"]


def redraw(
    record: Record, target: Path, *, model: str | None = None, init: Path | None = None, device: str | None = None
) -> Path:
    """Makes a file again, with the record that it has today.

    Arguments:
        record: How it was made.
        target: Where to; its suffix is that of the old file, or none for a folder.
        model: Another name or folder of the model, where it is not what it was called then.
        init: The picture that it started from, where it is not where it was then.
        device: Another device.

    Raises:
        DgmError: If the model, its plugin or its data are missing, or the record asks for what can't be done.
    """

    if record.call not in _CALLS and f"make_{record.call}" not in plugins.calls():
        what = f"the file was made by the call {record.call}, which no plugin here knows"
        raise DataError(what, "install or upgrade the plugin that made it")
    name = model or record.model
    with _threads(record.threads):
        loaded = load(name, device=device or record.device)
        if str(loaded.dtype) != f"torch.{record.dtype}":
            loaded.to(getattr(torch, record.dtype, torch.float32))
        loaded.noise_version = record.noise  # whatever the entry says today
        try:
            if record.call not in _CALLS:
                return _by_plugin(record, loaded, target)
            return _CALLS[record.call](record, loaded, name, target, init)
        except (KeyError, TypeError) as e:
            raise DataError(f"the record is incomplete: {e}", "the file was changed: draw it anew") from e


@contextmanager
def _threads(number: int) -> Iterator[None]:
    """Within it torch computes with so many threads: the order of sums depends on them, and so the last bits."""

    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def _making(record: Record, model: Model, **arguments: Any) -> Iterator[None]:
    """The record of the same call today; the density behind points is as fine as then, whatever time it takes."""

    with making(record.call, model, name=record.model, **arguments):
        if record.density is not None:
            add(density=record.density)
        yield


def _sample(record: Record, model: Model, name: str, target: Path, init: Path | None) -> Path:
    said = record.arguments
    seen = {key: said.get(key) for key in ("given", "mask", "operator", "sigma")}
    model = asked(model, name, said.get("tilt") or (), **seen)
    options = dict(record.options)
    start = init or (Path(said["init"]) if said.get("init") else None)
    if start is not None:
        options["init"] = initial(model, start)
    lost = [key for key, value in options.items() if isinstance(value, dict) and "sha256" in value]
    if lost:
        what = f"the samples were drawn with a tensor as {lost[0]}, of which the record has the digest only"
        raise UsageError(what, "give the picture that they started from with --init")
    given: dict[str, Any] = {"seed": said["seed"], "batch_size": said["batch_size"], "options": options}
    about = {"tilt": said.get("tilt"), **seen, "init": said.get("init"), "n": said["n"], **given}
    with _making(record, model, **about):
        if record.index is not None:
            return _one_of_a_folder(record.index, model, said["n"], given, target)
        if target.suffix.lower() == ".gif":
            plugins.call("animate")(model, target, said["n"], given)
            return target
        return sample_to(target, model, said["n"], **given)


def _one_of_a_folder(index: int, model: Model, n: int, given: dict[str, Any], target: Path) -> Path:
    """Draws one picture of a folder: its whole batch, as the last bits of a sample depend on its company."""

    size = given["batch_size"]
    start = index // size * size
    if not start <= index < n:
        raise DataError(f"the record is of picture {index} of {n}", "the file was changed: draw it anew")
    (batch,) = stream(model, min(size, n - start), start=start, **given)
    image = to_uint8(batch[index - start : index - start + 1].float(), model_range(model))[0]
    with replacing(target) as file:
        write_png(image, file, index=index)
    return target


def _score(record: Record, model: Model, name: str, target: Path, init: Path | None) -> Path:
    said, given = record.arguments, {"options": record.options}
    about = {key: said.get(key) for key in ("data", "n", "seed", "batch_size")}
    limit = {"limit": about["n"]} if about["n"] else {}
    data = open_for(model, said["data"], **limit)
    scores = score(model, data, seed=said["seed"], batch_size=said["batch_size"], **given)
    with _making(record, model, **about, **given):
        write_scores(target, scores)
    return target


def _by_plugin(record: Record, model: Model, target: Path) -> Path:
    """Makes a file by the call `make_CALL` of the plugin that made it, whose arguments are those of its record."""

    make = plugins.call(f"make_{record.call}")
    with _making(record, model, **record.arguments):
        make(model, target, **record.arguments)
    return target


_CALLS = {"sample": _sample, "score": _score}
