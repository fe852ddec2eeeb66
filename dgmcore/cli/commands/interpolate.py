"""`dgm interpolate`: walk between samples, or between data, in the space of noise or codes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ... import console as output
from ...errors import UsageError
from ..complete import model_names


def command(
    name: Annotated[str, typer.Argument(help="An entry, a folder, or hf://user/repo.", autocompletion=model_names)],
    steps: Annotated[int, typer.Option("-n", "--steps", min=2, help="Pictures from one end to the other.")] = 8,
    rows: Annotated[int, typer.Option(min=1, help="How many walks.")] = 4,
    seed: Annotated[int, typer.Option(help="Of the samples at the ends.")] = 0,
    data: Annotated[
        str | None, typer.Option(help="Walk between the codes of these data instead, the first of them in pairs.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="A .png, a walk in each row, or a .gif. [NAME-walk-seedS.png]")
    ] = None,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1, ...")] = "cpu",
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Walk between samples or data in latent space.

    Between samples the walk is on great circles of the noise, which Gaussian noise stays near to; between the codes of
    data it is straight.
    """

    if out is not None and out.suffix.lower() not in (".png", ".gif"):
        raise UsageError(f"--out {out}: walks are written as .png or .gif", "give it a name that ends so")
    from ...data import as_tensor, open_for
    from ...loading.load import load
    from ...sampling import latent, pictures
    from ...sampling.draw import model_name

    model = load(name, device=device)
    if data is None:
        walk = latent.between_samples(model, rows, steps, seed=seed)
    else:
        latent.check_encoder(model)
        ends = as_tensor(open_for(model, data), 2 * rows)
        walk = latent.between_data(model, ends, steps)
    target = out or Path(f"{model_name(model)}-walk-seed{seed}.png")
    canvas = pictures.Canvas(model)
    flat = walk.flatten(0, 1)
    canvas.frame(flat)
    if target.suffix.lower() == ".gif":
        there = [canvas.draw(walk[:, k]) for k in range(steps)]
        pictures.save_gif([*there, *there[-2:0:-1]], target, seconds=0.25 * steps, hold=0.25)
    elif canvas.kind == "image":
        pictures.save_grid(flat, canvas.range, target, columns=steps)
    else:
        pictures.save_png(canvas.draw(flat), target)
    if json:
        output.emit_json({"model": model_name(model), "rows": len(walk), "steps": steps, "out": str(target)})
    else:
        print(target)
