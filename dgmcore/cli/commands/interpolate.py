"""`dgm interpolate`: walk between samples, or between data, in the space of noise or codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ... import console as output
from ...errors import UsageError
from .. import complete
from ..arguments import Device, ModelName


def command(
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
    out: Annotated[
        Path | None,
        typer.Option(help="A .png, a walk in each row, or a .gif; points also .pdf or .svg. [NAME-walk-seedS.png]"),
    ] = None,
    device: Device = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Walk between samples or data in latent space.

    Between samples the walk is on great circles of the noise, which Gaussian noise stays near to; between the codes of
    data it is straight. Points of the plane have lines between them.
    """

    if out is not None and out.suffix.lower() not in (".png", ".gif", ".pdf", ".svg"):
        raise UsageError(f"--out {out}: walks are written as .png or .gif", "give it a name that ends so")
    from ...data import as_tensor, open_for
    from ...loading.load import load
    from ...sampling.interpolate import between_data, between_samples, write_walks
    from ...sampling.processes import device_here, here
    from ...sampling.provenance import making
    from ...sampling.reconstruct import as_encoder
    from ...sampling.settings import model_name

    model = load(name, device=device_here(device, here()))
    ends = None
    if data is None:
        walks = between_samples(model, rows, steps, seed=seed)
    else:
        as_encoder(model)
        ends = as_tensor(open_for(model, data), 2 * rows)
        walks = between_data(model, ends, steps)
    about = {"rows": rows, "steps": steps, "seed": seed, "data": data}
    with making("interpolate", model, name=name, **about, data_is=ends):
        target = write_walks(model, walks, out or f"{model_name(model)}-walk-seed{seed}.png")
    if json:
        output.emit_json({"model": model_name(model), "rows": len(walks), "steps": steps, "out": str(target)})
    else:
        print(target)
