"""`dgm score`: log-likelihoods of data, or a critic's judgement."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import console as output
from ...errors import UsageError
from ...files.atomic import replacing
from ..arguments import BatchSize, Data, Device, ModelName, Set
from ..set_options import parse_set

if TYPE_CHECKING:
    from typing import BinaryIO

    from ...sampling.scores import Scores


def command(
    name: ModelName,
    data: Data,
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="The first so many data. [all]")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE.csv", help="Write index,value for each datum; - is stdout.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of dequantisation, bounds and estimates.")] = 0,
    batch_size: BatchSize = None,
    device: Device = "cpu",
    set_: Set = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score data: log-likelihoods in nats, or a critic's judgement.

    The kind says what the values are: exact, lower_bound, estimate, unnormalized, or critic. Bits per dimension are
    for the data's own levels, with uniform dequantisation where the model is continuous.
    """
    options = parse_set(set_ or ())

    from ...data import open_for
    from ...loading.load import load
    from ...sampling.processes import device_here, joined
    from ...sampling.provenance import making
    from ...sampling.scores import score
    from ...sampling.settings import checked_size, model_name
    from ...sampling.sinks import STDOUT

    to_stdout = out is not None and str(out) in STDOUT
    _check_target(out, to_stdout, json)
    with joined(model=name, data=data, n=n, seed=seed, options=options) as place:
        model = load(name, device=device_here(device, place))
        dataset = open_for(model, data, **({"limit": n} if n else {}))
        total = len(dataset) if place.is_main else None
        with output.progress("scoring", total=total, unit="data") as advance:
            scores = score(
                model, dataset, batch_size=batch_size, seed=seed, options=options, watch=lambda x: advance(len(x))
            )
    if not place.is_main:
        return
    if scores.dequantized:
        levels = dataset.levels or (model.entry and model.entry.data.levels)
        output.say(f"uniform dequantisation of {levels} levels, seed {seed}")
    if out is not None:
        size = checked_size(model, batch_size)
        with making("score", model, name=name, data=data, n=n, seed=seed, batch_size=size, options=options):
            _write(out, scores, to_stdout)
    if not to_stdout:
        _print(_summary(model_name(model), scores), json)


def _check_target(out: Path | None, to_stdout: bool, json: bool) -> None:
    if out is not None and not to_stdout and out.suffix.lower() != ".csv":
        raise UsageError(f"--out {out}: scores are written as CSV", "give it a name that ends in .csv")
    if to_stdout and json:
        raise UsageError("--json and the scores both go to stdout", "write the scores to a file")


def _write(out: Path, scores: Scores, to_stdout: bool) -> None:
    """Writes a line for each datum; where that is stdout, the summary is talk."""
    if to_stdout:
        _lines(sys.stdout.buffer, scores)
        output.say(f"{scores.kind}, mean {scores.mean:.6g} {scores.unit}")
        return
    write_scores(out.expanduser(), scores)
    output.say(f"wrote {out}")


def write_scores(path: Path, scores: Scores) -> None:
    """Writes a table of the values, and the record of how it was made beside it."""
    from ...sampling.provenance import write_sidecar

    with replacing(path) as file:
        _lines(file, scores)
    write_sidecar(path)


def _lines(file: BinaryIO, scores: Scores) -> None:
    file.write(b"index,value\n")
    for i, value in enumerate(scores.values.tolist()):  # the digits that give back its float32
        file.write(f"{i},{value:.9g}\n".encode())


def _summary(name: str, scores: Scores) -> dict[str, Any]:
    keys = ("kind", "unit", "n", "mean", "std", "bits_per_dim")
    return {"model": name, **{key: getattr(scores, key) for key in keys}}


def _print(summary: dict[str, Any], json: bool) -> None:
    if json:
        output.emit_json(summary)
        return
    output.fields(
        [(key, f"{value:.6g}" if isinstance(value, float) else value and str(value)) for key, value in summary.items()]
    )
