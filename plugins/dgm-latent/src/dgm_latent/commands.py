"""`dgm interpolate`: walk between samples, or between data, in the space of noise or codes; `dgm reconstruct`: data
beside what a model makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from dgmcore import console as output
from dgmcore.cli import complete
from dgmcore.cli.arguments import Data, Device, ModelName
from dgmcore.errors import UsageError

__all__ = ["interpolate_app", "reconstruct_app"]

interpolate_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
reconstruct_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@interpolate_app.command()
def interpolate(
    name: ModelName,
    steps: Annotated[int, typer.Option("-n", "--steps", min=2, help="Pictures from one end to the other.")] = 8,
    rows: Annotated[int, typer.Option(min=1, help="How many walks.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the samples at the ends.")] = 0,
    data: Annotated[
        str | None,
        typer.Option(
            help="Walk between the codes of these data instead, the first of them in pairs.",
            autocompletion=complete.data,
        ),
    ] = None,
    start: Annotated[
        str | None,
        typer.Option(
            "--from", metavar="LATENT", help="Walk straight from here: a latent as -1,-1, or data that are encoded."
        ),
    ] = None,
    end: Annotated[str | None, typer.Option("--to", metavar="LATENT", help="And to there.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="A .png, a walk in each row, or a .gif; points also .pdf or .svg. [NAME-walk-seedS.png]"),
    ] = None,
    device: Device = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Walk between samples or data in latent space.

    Between samples the walk is on great circles of the noise, which Gaussian noise stays near to; between the codes of
    data, or the ends that --from and --to give, it is straight. Points of the plane have lines between them.
    """

    if out is not None and out.suffix.lower() not in (".png", ".gif", ".pdf", ".svg"):
        raise UsageError(f"--out {out}: walks are written as .png or .gif", "give it a name that ends so")
    if (start is None) != (end is None):
        raise UsageError("a walk has two ends, and one is given", "give both --from and --to")
    if start is not None and data is not None:
        raise UsageError("--data and --from both say where walks begin", "give one of them")
    from dgmcore.loading.load import load
    from dgmcore.sampling.processes import device_here, here
    from dgmcore.sampling.settings import model_name

    from .made import write_interpolation

    model = load(name, device=device_here(device, here()))
    target = out or Path(f"{model_name(model)}-walk{'' if start else f'-seed{seed}'}.png")
    about = {"rows": rows, "steps": steps, "seed": seed}
    target, walks = write_interpolation(model, target, name=name, data=data, start=start, end=end, **about)
    if json:
        output.emit_json({"model": model_name(model), "rows": len(walks), "steps": steps, "out": str(target)})
    else:
        print(target)


@reconstruct_app.command()
def reconstruct(
    name: ModelName,
    data: Data,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="The first so many data.")] = 32,
    out: Annotated[
        Path | None, typer.Option(help="A .png picture; points also .pdf or .svg. [NAME-reconstructions.png]")
    ] = None,
    device: Device = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Encode and decode data; models without an encoder are inverted by optimisation.

    Images are shown in pairs, each original with its reconstruction to the right of it. Points of the plane are drawn
    with lines to their reconstructions. The mean squared error is over all values, in the model's range.
    """

    if out is not None and out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--out {out}: reconstructions are written as PNG", "give it a name that ends in .png")

    from dgmcore.loading.load import load
    from dgmcore.sampling.processes import device_here, here
    from dgmcore.sampling.settings import model_name

    from .made import write_reconstructions

    model = load(name, device=device_here(device, here()))
    target = out or Path(f"{model_name(model)}-reconstructions.png")
    target, x, back = write_reconstructions(model, target, name=name, data=data, n=n)
    error = float((back - x).double().square().mean())
    if json:
        record = {"model": model_name(model), "n": len(x), "mean_squared_error": error, "out": str(target)}
        output.emit_json(record)
    else:
        output.say(f"mean squared error {error:.4g}")
        print(target)
