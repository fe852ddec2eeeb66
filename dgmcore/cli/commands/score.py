"""`dgm score`: log-likelihoods of data, or a critic's judgement."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ... import console as output
from ...errors import UsageError
from ..complete import model_names
from ..set_options import parse_set


def command(
    name: Annotated[str, typer.Argument(help="An entry, a folder, or hf://user/repo.", autocompletion=model_names)],
    data: Annotated[
        str,
        typer.Argument(help="A data set (fashion:test), or a .npy, .npz, .csv, an image, a folder or zip of images."),
    ],
    n: Annotated[int | None, typer.Option("-n", "--n", min=1, help="The first so many data. [all]")] = None,
    out: Annotated[Path | None, typer.Option(metavar="FILE.csv", help="Write index,value for each datum.")] = None,
    seed: Annotated[int, typer.Option(help="Of dequantisation, bounds and estimates.")] = 0,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Data judged at once; changes no value.")] = None,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1, ...")] = "cpu",
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the scoring options.")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Score data: log-likelihoods in nats, or a critic's judgement.

    The kind says what the values are: exact, lower_bound, estimate, unnormalized, or critic. Bits per dimension are
    for the data's own levels, with uniform dequantisation where the model is continuous.
    """

    if out is not None and out.suffix.lower() != ".csv":
        raise UsageError(f"--out {out}: scores are written as CSV", "give it a name that ends in .csv")
    options = parse_set(set_ or ())

    from ...data import open_for
    from ...files.atomic import replacing
    from ...loading.load import load
    from ...sampling.draw import model_name
    from ...sampling.parallel import device_here, here
    from ...sampling.scores import score

    place = here()
    model = load(name, device=device_here(device, place))
    dataset = open_for(model, data, **({"limit": n} if n else {}))
    total = len(dataset) if place.is_main else None
    with output.progress("scoring", total=total, unit="data") as advance:
        scores = score(
            model, dataset, batch_size=batch_size, seed=seed, watch=lambda values: advance(len(values)), **options
        )
    if not place.is_main:
        return
    if out is not None:
        with replacing(out) as file:
            file.write(b"index,value\n")
            for i, value in enumerate(scores.values.tolist()):  # the digits that give back its float32
                file.write(f"{i},{value:.9g}\n".encode())
        output.say(f"wrote {out}")
    summary = {
        "model": model_name(model),
        "kind": scores.kind,
        "unit": scores.unit,
        "n": scores.n,
        "mean": scores.mean,
        "std": scores.std,
        "bits_per_dim": scores.bits_per_dim,
    }
    if scores.dequantized:
        output.say(f"uniform dequantisation of {dataset.levels or model.entry.data.levels} levels, seed {seed}")
    if json:
        output.emit_json(summary)
    else:
        output.fields(
            [
                (key, f"{value:.6g}" if isinstance(value, float) else value and str(value))
                for key, value in summary.items()
            ]
        )
