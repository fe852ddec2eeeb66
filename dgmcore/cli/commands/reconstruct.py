"""`dgm reconstruct`: data beside what a model makes of them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ... import console as output
from ...errors import UsageError
from ..arguments import Data, Device, ModelName


def command(
    name: ModelName,
    data: Data,
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="The first so many data.")] = 32,
    out: Annotated[
        Path | None, typer.Option(help="A .png picture; points also .pdf or .svg. [NAME-reconstructions.png]")
    ] = None,
    device: Device = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Encode and decode data.

    Images are shown in pairs, each original with its reconstruction to the right of it. Points of the plane are drawn
    with lines to their reconstructions. The mean squared error is over all values, in the model's range.
    """

    if out is not None and out.suffix.lower() not in (".png", ".pdf", ".svg"):
        raise UsageError(f"--out {out}: reconstructions are written as PNG", "give it a name that ends in .png")

    import torch

    from ...data import as_tensor, open_for
    from ...loading.load import load
    from ...sampling.processes import device_here, here
    from ...sampling.provenance import making
    from ...sampling.reconstruct import as_encoder, reconstruct, write_beside
    from ...sampling.settings import model_name

    model = load(name, device=device_here(device, here()))
    as_encoder(model)
    x = as_tensor(open_for(model, data), n)
    back = torch.cat([reconstruct(model, part) for part in torch.split(x, 64)])
    error = float((back - x).double().square().mean())
    with making("reconstruct", model, name=name, data=data, n=n, data_is=x):
        target = write_beside(model, x, back, out or f"{model_name(model)}-reconstructions.png")
    if json:
        record = {"model": model_name(model), "n": len(x), "mean_squared_error": error, "out": str(target)}
        output.emit_json(record)
    else:
        output.say(f"mean squared error {error:.4g}")
        print(target)
