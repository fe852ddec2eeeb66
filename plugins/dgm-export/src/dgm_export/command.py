"""`dgm export`: write a model for other programs."""

from __future__ import annotations

from typing import Annotated

import typer

from dgmcore import console
from dgmcore.cli import complete
from dgmcore.cli.arguments import ModelName
from dgmcore.errors import UsageError

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def command(
    name: ModelName,
    format: Annotated[str, typer.Option(help="What is written: onnx.")] = "onnx",
    part: Annotated[
        str | None,
        typer.Option(
            help="sampler, score, log-prob, encode or features. [the first that the model can]",
            autocompletion=complete.among("encode", "features", "log-prob", "sampler", "score"),
        ),
    ] = None,
    out: Annotated[str | None, typer.Option(help="The file. [NAME-PART.onnx]")] = None,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Write a model's sampler, score, density, encoder or features as a graph for other programs.

    The graph takes any number of data. A sampler's inputs are the Gaussian noise that the model is a map of.
    It is compared with the model, and not written if they differ by more than 1e-5 for each unit of the largest output.
    """

    import msgspec

    from dgmcore.loading.load import load

    from .onnx import KINDS, default_path, export_onnx, kinds_of

    if format != "onnx":
        raise UsageError(f"there is no format {format}", "say --format onnx")
    if part is not None and part not in KINDS:
        raise UsageError(f"there is no part {part}", f"say one of {', '.join(KINDS)}")
    model = load(name)
    kind = part or next(iter(kinds_of(model)), None)
    target = out or str(default_path(model, kind or "graph"))
    done = export_onnx(model, target, kind)
    if json:
        console.emit_json(msgspec.to_builtins(done))
        return
    shapes = ", ".join(f"{name} (n, {', '.join(map(str, shape))})" for name, shape in done.inputs.items())
    checked = "not compared: onnxruntime is not installed" if done.difference is None else f"{done.difference:.1e}"
    exact = " in float64, which is nearer to the graph than in float32" if done.precision == "float64" else ""
    console.say(f"{done.kind} of {shapes}; difference from the model{exact}: {checked}")
    print(done.file)
