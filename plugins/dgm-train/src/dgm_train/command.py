"""`dgm train`."""

from __future__ import annotations

import gc
import os
from glob import escape, glob
from pathlib import Path
from typing import Annotated, Any

import typer

from dgmcore import plugins
from dgmcore.cli import USUAL_GC, complete
from dgmcore.cli.arguments import ModelName
from dgmcore.cli.set_options import parse_set
from dgmcore.console import say

app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
finetune_app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)

#: What `--set` may begin with: the recipe's types would say it too, but take as long to import as torch.
KEYS = """
schema= name= architecture= license= summary= config. parts. init= seed= threads= checkpoint_minutes= checkpoint_steps=
samples_every= validate_every= sampling. stored_as= tags=
data.dataset= data.split= data.options. data.range= data.levels= data.pad= data.resize= data.crop= data.background=
data.flip= data.dequantize= data.limit=
phases.0.phase= phases.0.options. phases.0.batch_size= phases.0.steps= phases.0.epochs= phases.0.minutes=
phases.0.optimizers. phases.0.clip_norm= phases.0.clip_value= phases.0.ema= phases.0.ema_from= phases.0.keep=
phases.0.precision= phases.0.channels_last=
phases.0.optimizer.name= phases.0.optimizer.lr= phases.0.optimizer.betas= phases.0.optimizer.eps=
phases.0.optimizer.weight_decay= phases.0.optimizer.momentum=
phases.0.schedule.name= phases.0.schedule.warmup= phases.0.schedule.final= phases.0.schedule.every=
phases.0.schedule.factor=
"""

OwnData = typer.Argument(
    help="Data of your own: a folder of pictures, or as in `dgm score`.",
    show_default=False,
    autocompletion=complete.data,
)


def _keys(incomplete: str) -> list[str]:
    """Keys of a recipe, as `--set` changes them."""
    return complete.starting(set(KEYS.split()), incomplete)


SetRecipe = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Override a key of the recipe: phases.0.steps=100.",
        autocompletion=_keys,
    ),
]
Resume = Annotated[bool, typer.Option("--resume", help="Go on from the last checkpoint.")]
Out = Annotated[
    Path | None,
    typer.Option("--out", metavar="DIR", help="Write the entry DIR/NAME.  [default: runs/NAME/registry]"),
]
Minutes = Annotated[
    float | None, typer.Option("--minutes", metavar="M", help="With DATA: how long to train.  [default: 8]")
]


def _trainable(incomplete: str) -> list[str]:
    """Architectures, and files of recipes."""

    files = {path + os.sep if os.path.isdir(path) else path for path in glob(f"{escape(incomplete)}*")}
    recipes = {path for path in files if path.endswith((os.sep, ".yaml", ".yml"))}
    return complete.starting(set(plugins.architectures()) | recipes, incomplete)


@app.command()
def command(
    recipe: Annotated[
        str | None,
        typer.Argument(
            help="The recipe, a YAML file; or an architecture, with DATA.",
            show_default=False,
            autocompletion=_trainable,
        ),
    ] = None,
    data: Annotated[str | None, OwnData] = None,
    set_: SetRecipe = None,
    resume: Resume = False,
    out: Out = None,
    like: Annotated[
        str | None,
        typer.Option(
            "--like",
            metavar="NAME",
            help="Instead of a recipe: train as this entry was trained.",
            autocompletion=complete.model_names,
        ),
    ] = None,
    data_option: Annotated[
        str | None,
        typer.Option("--data", metavar="DATA", help="The same as DATA.", autocompletion=complete.data),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option("--name", metavar="NAME", help="With DATA: the model's name.  [default: ARCHITECTURE-DATA]"),
    ] = None,
    minutes: Minutes = None,
    size: Annotated[
        int | None,
        typer.Option("--size", metavar="PIXELS", help="With DATA: the side of the pictures.  [default: at most 32]"),
    ] = None,
) -> None:
    """Train a model, in `runs/NAME`, and write it as a registry entry: by a recipe, or an architecture on your data.

    `dgm train conv-vae photos/` makes a first model of a folder of pictures in ten minutes, with settings that fit;
    `dgm list --architectures` shows what else there is. `dgm train --like nvae-celeba photos/` trains as that entry was
    trained, from new weights; `dgm finetune` starts from the entry's.
    """

    from .from_entry import like_entry
    from .starter import asked_for

    if like is None:
        what = asked_for(recipe, data_option or data, name=name, minutes=minutes, size=size)
    else:
        given = [d for d in (recipe, data, data_option) if d is not None]
        what = like_entry(like, given, size, name=name, minutes=minutes)
    _train(what, set_, resume, out)


@finetune_app.command()
def finetune(
    entry: ModelName,
    data: Annotated[str, OwnData],
    set_: SetRecipe = None,
    resume: Resume = False,
    out: Out = None,
    name: Annotated[
        str | None, typer.Option("--name", metavar="NAME", help="The new model's name.  [default: ENTRY-DATA]")
    ] = None,
    minutes: Minutes = None,
) -> None:
    """Go on training a model, on your own data, and write it as a new entry.

    `dgm finetune nvae-celeba photos/` goes on from the entry's weights, for eight minutes, in the last phase of its
    training and at a lower rate; pictures of samples appear in `runs/NAME/samples`.
    """

    from .from_entry import recipe_from

    given: dict[str, Any] = {"name": name, "minutes": minutes}
    given = {key: value for key, value in given.items() if value is not None}
    _train(recipe_from(entry, data, finetune=True, **given), set_, resume, out)


def _train(what: dict[str, Any] | Path, set_: list[str] | None, resume: bool, out: Path | None) -> None:
    from .engine import train
    from .parallel.distributed import Processes

    gc.set_threshold(*USUAL_GC)  # a cycle that a step leaves behind may hold a graph of tensors
    folder = train(what, out=out, resume=resume, set=parse_set(set_ or []))
    if not Processes().main:
        return  # the main process says it
    say(f"try it: {trial(folder)}")
    print(folder)


def trial(folder: Path) -> str:
    """Returns a command that shows what the model in `folder` can do."""

    from dgmcore.calls.listing import info

    name = str(folder) if folder.is_absolute() else f"./{folder}"
    model = info(name)
    can = model["capabilities"]
    if "generator" in can:
        return f"dgm sample {name}"
    if {"critic", "density"} & set(can):
        return f"dgm score {name} {model['dataset']}"
    if "encoder" in can:
        return f"dgm reconstruct {name} {model['dataset']}"
    return f"dgm eval {name}" if "features" in can else f"dgm info {name}"
