"""Arguments and options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

from . import complete

__all__ = ["BatchSize", "Data", "Device", "ModelName", "Set", "Tilt"]

ModelName = Annotated[
    str, typer.Argument(help="An entry, a folder, or hf://user/repo.", autocompletion=complete.model_names)
]

Data = Annotated[
    str,
    typer.Argument(
        help="A data set (fashion:test), or a .npy, .npz, .csv, an image, a folder or zip of images.",
        autocompletion=complete.data,
    ),
]

BatchSize = Annotated[int | None, typer.Option(min=1, help="Data drawn or judged at once, for speed and memory.")]

Device = Annotated[
    str,
    typer.Option(
        help="Where the model runs: cpu, cuda, cuda:1, auto, ...",
        autocompletion=complete.among("auto", "cpu", "cuda", "mps"),
    ),
]

Tilt = Annotated[
    list[str] | None,
    typer.Option(
        metavar="CRITIC[:WEIGHT]",
        help="Tilt the model by a critic, such as an energy; repeatable.",
        autocompletion=complete.critics,
    ),
]

Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="key=value of the model's options; repeatable.", autocompletion=complete.options),
]
