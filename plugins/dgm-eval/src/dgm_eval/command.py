"""`dgm eval`: measure a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from dgmcore import console
from dgmcore.calls.listing import list_models
from dgmcore.cli import complete
from dgmcore.cli.arguments import BatchSize, Device, Set, Tilt
from dgmcore.errors import UsageError
from dgmcore.plugins.provided import provided

if TYPE_CHECKING:
    from .request import Request

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


def _metrics(incomplete: str) -> list[str]:
    """Metrics that plugins provide."""
    return complete.starting(set(provided().metrics), incomplete)


def _features(incomplete: str) -> list[str]:
    """Models that have features."""
    return complete.starting({model["name"] for model in list_models(can="features")}, incomplete)


@app.command()
def command(
    name: Annotated[
        str,
        typer.Argument(
            help="An entry, a folder, or hf://user/repo; or samples: a folder/ of pictures, .npz, .csv, ...",
            autocompletion=complete.model_names,
        ),
    ],
    metric: Annotated[
        list[str] | None,
        typer.Option(help="A metric; repeatable. Without: all that fit.", autocompletion=_metrics),
    ] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Samples, and real data at most.")] = None,
    against: Annotated[
        str | None,
        typer.Option(
            help="The real data, such as fashion:test, or a path, or stats:NAME.", autocompletion=complete.data
        ),
    ] = None,
    features: Annotated[
        str | None,
        typer.Option(
            help="The entry whose features are used, or a network: .onnx, or TorchScript.", autocompletion=_features
        ),
    ] = None,
    ood: Annotated[
        str | None, typer.Option(help="Data out of distribution, for ood-auroc.", autocompletion=complete.data)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the samples, and of the choice of real data.")] = 0,
    batch_size: BatchSize = None,
    device: Device = "cpu",
    tilt: Tilt = None,
    set_: Set = None,
    compare: Annotated[
        str | None,
        typer.Option(
            help="Another entry, or other samples: the ratios, and which is better.",
            autocompletion=complete.model_names,
        ),
    ] = None,
    allow: Annotated[list[str] | None, typer.Option(help="With --compare: a difference to accept.")] = None,
    record: Annotated[
        bool,
        typer.Option("--record", help="Write the records into the entry's model.yaml; of a shipped model, into yours."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Measure a model: FID, KID, bits/dim, mode coverage, ...

    Every value is a record of its whole protocol, and values are compared only where the protocols agree.
    The interval covers the value that the protocol gives on average, 95 times of 100.
    `dgm eval A --metric fid --compare B` measures A, divides by B's recorded value, and says which is better.
    `dgm eval ./pictures/ --against fashion:test` measures samples of whatever origin.
    """

    if tilt and record:
        raise UsageError("a tilted model is no entry to record in", "leave out --record, or --tilt")
    from .request import Request

    request = Request(
        name=name,
        metrics=tuple(metric or ()),
        n=n,
        against=against,
        features=features,
        ood=ood,
        seed=seed,
        batch_size=batch_size,
        device=device,
        tilt=tuple(tilt or ()),
        options=tuple(set_ or ()),
    )
    _run(request, compare, tuple(allow or ()), record=record, json=json)


def _run(request: Request, compare: str | None, allow: tuple[str, ...], *, record: bool, json: bool) -> None:
    """Measures, records, compares and prints: what can't be compared is refused before it is measured, or after it
    is printed."""

    import msgspec

    from dgmcore import registry
    from dgmcore.sampling.processes import joined

    from .ratios import Other, ratios, require_records
    from .records import record as write
    from .report import print_json, print_table
    from .sources.given import is_samples

    located = None if is_samples(request.name) else registry.find(request.name)
    if located is None:
        _refuse_options(request, record)
    other: Other | None = None
    if compare and not is_samples(compare):
        entry = registry.find(compare).entry
        other = Other(entry.name, entry.metrics)
        require_records(request.metrics, other)
    name = request.name if located is None else located.entry.name
    command = request.command(name)
    if record and command != command.encode(errors="replace").decode():
        raise UsageError("what is no text in UTF-8 can't be recorded", "rename the file, or leave out --record")
    with joined(command=command) as place:
        records = request.measure(command)
        if compare and other is None:
            theirs_too = msgspec.structs.replace(request, name=compare)
            other = Other(compare, theirs_too.measure(theirs_too.command(compare)))
    if not place.is_main:
        return
    found = ratios(records, other, allow) if other is not None else []
    theirs = None if other is None else other.name
    try:
        if json:
            print_json(name, records, theirs, found)
        else:
            print_table(records, theirs, found)
    finally:  # neither loses what the other has
        if record and located is not None:
            console.say(f"wrote {write(located, records)}")
    for refusal in [ratio.refusal for ratio in found if ratio.refusal is not None]:
        if request.metrics:  # the user asked for this one
            raise refusal
        console.warn(refusal.what)


def _refuse_options(request: Request, record: bool) -> None:
    """Refuses what samples that are there already can't have."""

    if record:
        raise UsageError(f"{request.name} is no entry to record in", "leave out --record")
    if request.tilt or request.options:
        raise UsageError("samples that are there already take no options of a model", "leave out --tilt and --set")
