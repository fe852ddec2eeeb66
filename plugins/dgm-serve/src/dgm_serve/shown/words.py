"""The same as an answer on the command line and in Python: its facts `command` and `python`, to copy from the page."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from typing import Any, Protocol

from dgmcore.calls.listing import info

__all__ = ["file_words", "pad_words", "sample_words", "score_words", "train_words"]


class Asked(Protocol):
    """A question for samples, as the API has it."""

    model: str
    n: int
    seed: int
    start: int
    options: dict[str, Any]
    tilt: str | None
    weight: float


def sample_words(ask: Asked, *, way: bool = False) -> dict[str, str]:
    """Returns how to get samples elsewhere, and with `way` the sampler's way to them as an animation."""

    n = ask.start + ask.n  # there they are drawn from the first on
    by = "" if ask.tilt is None else f" --tilt {ask.tilt}:{_short(ask.weight)}"
    chosen = "".join(f" --set {key}={_in_shell(value)}" for key, value in ask.options.items())
    film = f" --trajectory {ask.model}.gif" if way and ask.tilt is None else ""
    named = "".join(f", {key}={value!r}" for key, value in ask.options.items())
    also, model = "", f'dgmcore.load("{ask.model}")'
    if ask.tilt is not None:
        also = "from dgmcore.compose import tilt\n"
        model = f'tilt({model}, dgmcore.load("{ask.tilt}"), {_short(ask.weight)})'
    drawn, these = f"{n}, seed={ask.seed}{named}", f"[{ask.start}:]" if ask.start else ""
    return {
        "command": f"dgm sample {ask.model} -n {n} --seed {ask.seed}{by}{chosen}{film}",
        "python": f"import dgmcore\n{also}\nmodel = {model}\nx = dgmcore.sample(model, {drawn}){these}\n",
    }


def score_words(model: str, at: Any) -> dict[str, str]:
    """Returns how to score a point of the plane elsewhere."""
    return {"python": f'import dgmcore\n\nmodel = dgmcore.load("{model}")\nprint(dgmcore.score(model, [{at}]))\n'}


def file_words(command: str, model: str) -> dict[str, str]:
    """Returns the command that looks at a picture, or at the data set where the model's data are none."""
    entry = info(model)
    return {"command": f"dgm {command} {model} {'picture.png' if len(entry['event_shape']) > 1 else entry['dataset']}"}


def pad_words(model: str, name: str, z: tuple[float, float]) -> dict[str, str]:
    """Returns how to make in Python what a point of the pad makes."""

    return {
        "python": f"""import dgmcore
import torch

model = dgmcore.load("{model}")
eps = {{k: torch.zeros(1, *shape) for k, shape in model.noise_shapes.items()}}
eps["{name}"] = torch.tensor([[{_short(z[0])}, {_short(z[1])}]]).view(1, *model.noise_shapes["{name}"])
with torch.no_grad():
    x = model.push(eps)
"""
    }


def train_words(entry: Mapping[str, Any], phase: str, learning_rate: float) -> dict[str, str]:
    """Returns how to train in Python on the points of a file."""

    return {
        "python": f"""import dgmcore

folder = dgmcore.train({{
    "schema": 1, "name": "drawn", "license": "of the points", "data": {{"dataset": "points.csv"}},
    "architecture": "{entry["architecture"]}",
    "config": {entry["config"]!r},
    "phases": [
        {{"phase": "{phase}", "batch_size": 256, "steps": 2000,
          "optimizer": {{"lr": {learning_rate}}}, "clip_norm": 5.0}}
    ],
}})
"""
    }


def _short(value: float) -> str:
    return f"{value:.12g}"


def _in_shell(value: Any) -> str:
    return shlex.quote(value if isinstance(value, str) else json.dumps(value))
