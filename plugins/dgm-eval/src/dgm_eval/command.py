"""`dgm eval`: measure a model."""

from __future__ import annotations

import shlex
from functools import partial
from typing import Annotated

import typer

from dgmcore import console as output
from dgmcore.cli.complete import model_names
from dgmcore.cli.set_options import parse_set
from dgmcore.errors import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: Annotated[str, typer.Argument(help="An entry, a folder, or hf://user/repo.", autocompletion=model_names)],
    metric: Annotated[list[str] | None, typer.Option(help="A metric; repeatable. Without: all that fit.")] = None,
    n: Annotated[int | None, typer.Option("--n", "-n", help="Samples, and real data at most.")] = None,
    against: Annotated[str | None, typer.Option(help="The real data, such as fashion:test, or a path.")] = None,
    features: Annotated[str | None, typer.Option(help="The entry whose features are used.")] = None,
    ood: Annotated[str | None, typer.Option(help="Data out of distribution, for ood-auroc.")] = None,
    seed: Annotated[int, typer.Option(help="Of the samples, and of the choice of real data.")] = 0,
    batch_size: Annotated[int | None, typer.Option(help="Samples drawn at once.")] = None,
    device: Annotated[str, typer.Option(help="Where the model runs.")] = "cpu",
    tilt: Annotated[
        str | None, typer.Option(metavar="CRITIC[:WEIGHT]", help="Tilt the model by a critic, such as an energy.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the model's options.")] = None,
    compare: Annotated[str | None, typer.Option(help="Another entry: print the ratios to its records.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="With --compare: a difference to accept.")] = None,
    record: Annotated[bool, typer.Option("--record", help="Write the records into the entry's model.yaml.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print the records as JSON.")] = False,
) -> None:
    """Measure a model: FID, KID, bits/dim, mode coverage, ...

    Every value is a record of its whole protocol, and values are compared only where the protocols agree.
    `dgm eval A --metric fid --compare B` measures A and divides by B's recorded value.
    """

    from dgmcore import registry
    from dgmcore.cli.commands.sample import tilted
    from dgmcore.evaluation.records import record as write
    from dgmcore.loading.load import load
    from dgmcore.sampling.parallel import device_here, here

    from .evaluate import evaluate

    if tilt is not None and record:
        raise UsageError("a tilted model is no entry to record in", "leave out --record, or --tilt")
    located = registry.find(name)
    other = registry.find(compare) if compare else None
    words = ["dgm", "eval", located.entry.name]
    for flag, values in (("metric", metric), ("n", [n]), ("against", [against]), ("features", [features])):
        words += [w for v in values or () if v is not None for w in (f"--{flag}", str(v))]
    words += ["--ood", ood] if ood else []
    words += ["--seed", str(seed)] if seed else []
    words += ["--tilt", tilt] if tilt else []
    words += [w for v in set_ or () for w in ("--set", v)]
    place = device_here(device, here())
    records = evaluate(
        name if tilt is None else tilted(load(name, device=place), name, tilt),
        metric,
        n,
        against=against,
        features=features,
        ood=ood,
        seed=seed,
        batch_size=batch_size,
        device=place,
        command=shlex.join(words),
        progress=partial(output.progress, unit="") if here().is_main else None,
        **parse_set(set_ or ()),
    )
    if not here().is_main:
        return
    ratios = _ratios(records, other, allow or (), strict=bool(metric)) if other else [None] * len(records)
    if record:
        output.say(f"wrote {write(located, records)}")
    if json:
        import msgspec

        rows = [{"model": located.entry.name, **msgspec.to_builtins(r)} for r in records]
        if other:
            rows = [{**row, "compare": other.entry.name, "ratio": q} for row, q in zip(rows, ratios, strict=True)]
        output.emit_json(rows)
        return
    columns = ["metric", "value", "floor", "n", "real", "against", "features", "unit"]
    rows = [
        [
            r.name,
            f"{r.value:.4g}" + (f" ± {r.std:.2g}" if r.std else ""),
            None if r.floor is None else f"{r.floor:.4g}",
            r.n,
            r.n_real,
            r.against,
            r.features,
            r.unit,
        ]
        for r in records
    ]
    if other:
        columns.insert(2, f"of {other.entry.name}'s")
        for row, ratio in zip(rows, ratios, strict=True):
            row.insert(2, None if ratio is None else f"{ratio:.3f}")
    output.table(columns, rows, right=["value", "floor", "n", "real"], wrap="unit")


def _ratios(records, other, allow, strict) -> list[float | None]:
    """Divides each value by the other entry's, if it was measured in the same way.

    Where the user named no metrics, those that can't be compared are told of and left out.
    """
    from dgmcore.evaluation.records import compare, matching

    ratios: list[float | None] = []
    for mine in records:
        theirs = matching(mine, other.entry.metrics)
        try:
            if theirs is None:
                raise UsageError(
                    f"{other.entry.name} has no record of {mine.name}",
                    f"make one: dgm eval {other.entry.name} --metric {mine.name} --record",
                )
            ratios.append(compare(mine, theirs, allow=allow))
        except UsageError as e:
            if strict:
                raise
            output.warn(e.what)
            ratios.append(None)
    return ratios
