"""`dgm sample`: draw samples from a model."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ... import console as output
from ...errors import UsageError
from ..complete import model_names
from ..set_options import parse_set

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ...model import Model

ANIMATED = 64  # samples of a trajectory that are drawn
PREVIEWED = 5000  # points in the terminal; images: 64


def command(
    name: Annotated[str, typer.Argument(help="An entry, a folder, or hf://user/repo.", autocompletion=model_names)],
    n: Annotated[int, typer.Option("-n", "--n", min=1, help="How many samples.")] = 16,
    seed: Annotated[int, typer.Option(help="Sample number i of a seed is always the same.")] = 0,
    out: Annotated[
        str | None,
        typer.Option(help="A .png, .npz, .npy, .safetensors or .csv file, or a folder/ of PNGs. [NAME-seedS.png]"),
    ] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, help="Samples drawn at once; changes no sample.")] = None,
    device: Annotated[str, typer.Option(help="Where the model runs: cpu, cuda, cuda:1, ...")] = "cpu",
    tilt: Annotated[
        str | None, typer.Option(metavar="CRITIC[:WEIGHT]", help="Tilt the model by a critic, such as an energy.")
    ] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="key=value of the sampling options.")] = None,
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
    from ...sampling import draw as sampling
    from ...sampling import sinks
    from ...sampling.parallel import device_here, here

    place = here()
    options = parse_set(set_ or ())
    if out is not None:
        sinks.sink_of(out)  # a wrong suffix fails before anything is loaded
    if trajectory is not None and trajectory.suffix.lower() != ".gif":
        raise UsageError(f"--trajectory {trajectory}: the animation is a GIF", "give it a name that ends in .gif")
    model = load(name, device=device_here(device, place))
    short = sampling.model_name(model)
    if tilt is not None:
        model = tilted(model, name, tilt)
    if init is not None:
        options["init"] = initial(model, init)
    target = out or f"{short}-seed{seed}.png"
    given: dict[str, Any] = {"seed": seed, "batch_size": batch_size, **options}

    first = None
    shown: list[np.ndarray] = []
    with stopping_cleanly(), progress(model, n, given) as advance:

        def watch(x: np.ndarray) -> None:
            advance(len(x))
            if preview and sum(map(len, shown)) < PREVIEWED:
                shown.append(x)

        if trajectory is not None and place.is_main:
            first = animate(model, trajectory, n, given)
        sampling.sample_to(target, model, n, first=first, watch=watch, **given)
    if not place.is_main:
        return
    if preview:
        show(model, shown)
    if json:
        record = {"model": short, "n": n, "seed": seed, "out": target, "event_shape": list(model.event_shape)}
        extra = {"tilt": tilt, "trajectory": trajectory and str(trajectory)}
        output.emit_json(record | {k: v for k, v in extra.items() if v})
    else:
        print(target)


def tilted(model: Model, name: str, critic: str) -> Model:
    """Returns the model tilted by `CRITIC[:WEIGHT]`; a model that is its own critic is loaded once."""

    from ...compose.tilted import tilt
    from ...loading.load import load

    found = re.fullmatch(r"(?P<name>.+?)(?::(?P<weight>[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?))?", critic)
    if found is None:
        raise UsageError("--tilt needs the name of a critic", "dgm list --can critic")
    other = model if found["name"] == name else load(found["name"], device=model.device)
    return tilt(model, other, float(found["weight"] or 1.0))


def initial(model: Model, path: Path) -> Tensor:
    """Returns a picture in the model's range and shape, for the sampling option `init`."""

    from ...sampling.pictures import read_picture

    if "init" not in type(model).Sampling.__struct_fields__:
        raise UsageError("the model starts from noise only and takes no --init", "leave out --init")
    return read_picture(path, model).to(model.device, model.dtype)


def animate(model: Model, path: Path, n: int, given: dict[str, Any]) -> Tensor:
    """Writes the sampler's way to its first samples as a GIF, and returns where it ends, the first batch."""

    from ...sampling.draw import first_states
    from ...sampling.pictures import Canvas, save_gif, thinned

    canvas = Canvas(model, size=480)
    last: list[Tensor] = []

    def states() -> Iterator[np.ndarray]:
        for state in first_states(model, n, **given):
            last[:] = [state]
            yield canvas.keep(state[:ANIMATED])

    kept = thinned(states())
    canvas.frame(kept[-1], margin=0.35)  # the window is that of the samples, with room for the way to them
    save_gif((canvas.draw(x) for x in kept), path)
    return last[0]


def show(model: Model, batches: list[np.ndarray]) -> None:
    """Shows samples in the terminal; on stderr, as stdout is for data."""

    import shutil

    import numpy as np

    from ...sampling.pictures import Canvas
    from ...sampling.preview import colours_of, preview

    x = np.concatenate(batches)[:PREVIEWED]
    canvas = Canvas(model)
    x = x[:64] if canvas.kind == "image" else x
    columns, lines = shutil.get_terminal_size()
    output.say(preview(canvas.draw(x), min(columns, 96), max(8, min(lines - 2, 48)), colours_of(sys.stderr)))


@contextmanager
def progress(model: Model, n: int, given: dict[str, Any]) -> Iterator[Callable[..., None]]:
    """Shows the progress of what takes more than one batch, or many steps."""

    from ...sampling.draw import default_batch_size
    from ...sampling.parallel import here

    several = n > (given["batch_size"] or default_batch_size(model)) or model.can("trajectory")
    if several and here().is_main:
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
