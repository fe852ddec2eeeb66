"""`dgm sample`: draw samples from a model."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import console as output
from ...errors import UsageError
from ...plugins.provided import call
from ..arguments import BatchSize, Device, ModelName, Set, Tilt
from ..complete import among, operators
from ..set_options import parse_set
from ..tilt_option import asked, critic_and_weight

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ...model import Model

SAMPLES = 16
POINTS = 2000  # of a picture of the plane
PREVIEWED = 5000  # points in the terminal; images: 64


def command(
    name: ModelName,
    n: Annotated[
        int | None, typer.Option("-n", "--n", min=1, help="How many samples. [16; 2000 points in a picture]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Sample number i of a seed is always the same.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(
            help="A .png, .npz, .npy, .safetensors or .csv file, a folder/ of PNGs, or - for text on stdout; "
            "points also as .pdf or .svg. [NAME-seedS.png]"
        ),
    ] = None,
    batch_size: BatchSize = None,
    device: Device = "cpu",
    dtype: Annotated[
        str | None,
        typer.Option(
            help="Compute in bfloat16, float16, float32 or float64. [as the weights are]",
            autocompletion=among("bfloat16", "float16", "float32", "float64"),
        ),
    ] = None,
    tilt: Tilt = None,
    given: Annotated[
        list[str] | None,
        typer.Option(
            metavar="WHAT", help="What is seen: x0=0.5, label=3[@CLASSIFIER], a picture, a .npy file; repeatable."
        ),
    ] = None,
    mask: Annotated[list[str] | None, typer.Option(metavar="PNG", help="White where --given is known.")] = None,
    operator: Annotated[
        list[str] | None,
        typer.Option(
            help="How --given was seen: downsample:4, blur:1.5, grey, crop:X,Y,W,H, linear:A.npy.",
            autocompletion=operators,
        ),
    ] = None,
    sigma: Annotated[list[float] | None, typer.Option(help="The noise of --given, in the data's units.")] = None,
    set_: Set = None,
    init: Annotated[Path | None, typer.Option(help="A picture to start from, for models that take one.")] = None,
    trajectory: Annotated[
        Path | None, typer.Option(metavar="FILE.gif", help="Also write the sampler's way as an animation.")
    ] = None,
    preview: Annotated[bool, typer.Option("--preview", help="Show the picture in the terminal.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Print what was written as JSON.")] = False,
) -> None:
    """Draw samples from a model.

    Without --out, a picture NAME-seedS.png is written into the current folder. The path is printed.
    Under torchrun or accelerate launch, the processes share the work and write the same file.
    """
    from ...loading.load import load
    from ...sampling.draw import sample_to
    from ...sampling.processes import device_here, joined
    from ...sampling.provenance import making
    from ...sampling.settings import checked_size, model_name
    from ...sampling.sinks import STDOUT

    options = parse_set(set_ or ())
    _check_targets(out, trajectory, json)
    shown: list[np.ndarray] = []
    show = call("preview") if preview else None
    seen = {"given": given, "mask": mask, "operator": operator, "sigma": sigma}
    run = {"model": name, "n": n, "seed": seed, "out": out, "tilt": tilt, "options": options}
    with stopping_cleanly(), joined(**run, **seen) as place:
        model = load(name, device=device_here(device, place), dtype=dtype)
        target = os.path.expanduser(out or f"{model_name(model)}{_suffix(tilt, given)}-seed{seed}.png")
        model = asked(model, name, tilt or (), **seen).to(model.dtype)  # critics too
        if init is not None:
            options["init"] = initial(model, init)
        count = n or default_number(model, target)
        chosen: dict[str, Any] = {"seed": seed, "batch_size": checked_size(model, batch_size), "options": options}
        about = {key: value or None for key, value in {"tilt": tilt, **seen, "init": init and str(init)}.items()}
        made = making("sample", model, name=name, **about, n=count, **chosen)
        with progress(model, count, batch_size, show=place.is_main) as advance, made:

            def watch(x: np.ndarray) -> None:
                advance(len(x))
                if show and sum(map(len, shown)) < PREVIEWED:
                    shown.append(x)

            first = None
            if trajectory is not None and place.is_main:
                first = call("animate")(model, trajectory.expanduser(), count, chosen)
            sample_to(target, model, count, first=first, watch=watch, **chosen)
    if not place.is_main:
        return
    report: dict[str, Any] = getattr(model, "report", dict)()  # of chains that were diagnosed
    if report:
        output.say(model.report_line())
    if show:
        show(model, shown)
    if json:
        record = {"model": model_name(model), "n": count, "seed": seed, "out": target}
        extra = {"tilt": tilt, **seen, "trajectory": trajectory and str(trajectory), "chains": report}
        shape = {"event_shape": list(model.event_shape)}
        output.emit_json(record | shape | {k: v for k, v in extra.items() if v})
    elif target not in STDOUT:
        print(target)


def _check_targets(out: str | None, trajectory: Path | None, json: bool) -> None:
    """Refuses what can't be written before anything is loaded."""
    from ...sampling.sinks import STDOUT, sink_of

    if out is not None:
        sink_of(out)
    if json and out in STDOUT:
        raise UsageError("--json and the samples both go to stdout", "write the samples to a file")
    if trajectory is not None and trajectory.suffix.lower() != ".gif":
        raise UsageError(f"--trajectory {trajectory}: the animation is a GIF", "give it a name that ends in .gif")


def _suffix(tilt: Sequence[str] | None, given: Sequence[str] | None) -> str:
    """What says in a file's name that the samples are tilted, by what, and how much; and that something is given."""
    suffix = "-given" if given else ""
    for critic, weight in map(critic_and_weight, tilt or ()):
        suffix += f"-by-{Path(critic).name}" + (f"-{weight:g}" if weight != 1 else "")
    return suffix


def default_number(model: Model, target: str) -> int:
    """Returns how many samples are drawn where nobody says."""
    from ...sampling.sinks import picture, sink_of

    if sink_of(target) is not picture:
        return SAMPLES
    from ...sampling.pictures.pixels import kind_of

    return POINTS if kind_of(tuple(model.event_shape), model.data_levels) == "point" else SAMPLES


def initial(model: Model, path: Path) -> Tensor:
    """Returns a picture in the model's range and shape, for the sampling option `init`."""
    if not hasattr(model.sampling(), "init"):
        raise UsageError("the model starts from noise only and takes no --init", "leave out --init")
    return call("read_picture")(path, model).to(model.device, model.dtype)


@contextmanager
def progress(model: Model, n: int, batch_size: int | None, *, show: bool) -> Iterator[Callable[..., None]]:
    """Shows the progress of what takes more than one batch, or many steps."""
    from ...sampling.settings import checked_size

    if show and (n > checked_size(model, batch_size) or model.can("trajectory")):
        with output.progress("sampling", total=n, unit="samples") as advance:
            yield advance
    else:
        yield lambda k: None


@contextmanager
def stopping_cleanly() -> Iterator[None]:
    """Lets the signals that ask a process to end unwind it, so that temporary files are removed."""
    import signal

    def stop(number: int, frame: Any) -> None:
        raise SystemExit(128 + number)

    numbers = [signal.SIGTERM] + ([signal.SIGHUP] if hasattr(signal, "SIGHUP") else [])
    before = {k: signal.signal(k, stop) for k in numbers if signal.getsignal(k) == signal.SIG_DFL}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
