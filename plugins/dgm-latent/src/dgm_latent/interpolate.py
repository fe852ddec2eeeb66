r"""Walks in the space of noise or codes.

Between two draws :math:`a, b` of Gaussian noise the way is the great circle [1]

.. math:: s_t(a, b) = \frac{\sin((1 - t) \omega)}{\sin \omega} a + \frac{\sin(t \omega)}{\sin \omega} b,
          \qquad \cos \omega = \frac{a \cdot b}{|a| |b|},

on which the norm stays that of typical noise.

References:
    [1] Animating rotation with quaternion curves (Shoemake, 1985); Sampling Generative Networks (White, 2016)
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from dgmcore.compose import Nested, tree_map
from dgmcore.errors import DataError, UsageError
from dgmcore.files.atomic import replacing
from dgmcore.interfaces import Pushforward
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.pictures.canvas import Canvas, check_format
from dgmcore.sampling.pictures.pixels import save_grid
from dgmcore.sampling.settings import MAX_SEED, model_name, outgoing, undisturbed, whole

from .animation import save_gif
from .reconstruct import as_encoder

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["between_data", "between_samples", "slerp", "write_walks"]


def slerp(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Returns the point at `t` of the great circle from `a` (t = 0) to `b` (t = 1), each `(n, *shape)`."""

    u, v = (x.flatten(1).double() for x in (a, b))
    cosine = (u * v).sum(1) / (u.norm(dim=1) * v.norm(dim=1)).clamp_min(1e-12)
    omega = cosine.clamp(-1, 1).acos()
    sine = omega.sin()
    straight = sine < 1e-6  # no angle, or no unique circle
    sine = torch.where(straight, 1.0, sine)
    left = torch.where(straight, 1 - t, ((1 - t) * omega).sin() / sine)
    right = torch.where(straight, t, (t * omega).sin() / sine)
    shape = (-1, *[1] * (a.ndim - 1))
    return (left.view(shape) * a + right.view(shape) * b).to(a.dtype)


def between_samples(model: Model, rows: int, steps: int, *, seed: int = 0) -> Tensor:
    """Returns walks between samples `2 i` and `2 i + 1` of a seed, shape `(rows, steps, *event_shape)`.

    The model's sampling defaults hold: its `temperature` scales the noise, and with `mean` the noise of pixels, "x",
    is zero.
    """

    if not model.can("pushforward"):
        raise UsageError(
            f"{model_name(model)} is no map of noise, so there is no way between its samples",
            "choose another: dgm list --can pushforward; or give --data to walk between codes",
        )
    push, shapes = cast(Pushforward, model).push, cast(Pushforward, model).noise_shapes
    seed = whole(seed, "the seed", 0, MAX_SEED)
    noise = IndexedNoise.of(model, seed, 2 * rows).named(shapes)
    chosen = model.sampling()
    temperature = getattr(chosen, "temperature", 1.0)
    scales = {name: 1.0 if name == "x" else temperature for name in noise}
    if getattr(chosen, "mean", False) is True:
        scales["x"] = 0.0
    scaled = {name: tree_map(lambda e, k=scales[name]: k * e, {name: tree})[name] for name, tree in noise.items()}
    start, end = _ends(scaled)
    return walk(model, lambda t: push(tree_map(lambda a, b: slerp(a, b, t), start, end)), steps)


def between_data(model: Model, x: Tensor, steps: int) -> Tensor:
    """Returns walks between the codes of data `2 i` and `2 i + 1`, shape `(rows, steps, *event_shape)`.

    Arguments:
        model: An encoder.
        x: The data, `(n, *event_shape)`, n at least 2; an odd one out is left out.
        steps: The points of a walk, its ends included.
    """

    encoder = as_encoder(model)
    if len(x) < 2:
        raise DataError("a walk needs two data, its ends", "give more data")
    with torch.no_grad(), undisturbed(model):
        codes = {"code": encoder.encode(x[: len(x) // 2 * 2].to(model.device, model.dtype))}
    start, end = _ends(codes)
    return walk(model, lambda t: encoder.decode(tree_map(lambda a, b: a + t * (b - a), start, end)["code"]), steps)


def write_walks(model: Model, walks: Tensor, path: str | os.PathLike[str]) -> Path:
    """Writes walks `(rows, steps, *event_shape)`: a `.gif` there and back, or a picture.

    A row of images is a walk; points have lines between them.
    """

    canvas, path, steps = Canvas(model), Path(path).expanduser(), walks.shape[1]
    canvas.frame(walks.flatten(0, 1))
    if path.suffix.lower() == ".gif":
        there = [canvas.draw(walks[:, k]) for k in range(steps)]
        return save_gif([*there, *there[-2:0:-1]], path, seconds=0.25 * steps, hold=0.25)
    if canvas.kind == "image":
        check_format(canvas.kind, path.suffix)
        return save_grid(walks.flatten(0, 1), canvas.range, path, columns=steps)
    with replacing(path) as file:
        canvas.write_ways(walks, file, path.suffix)
    return path


def walk(model: Model, at: Callable[[float], Tensor], steps: int) -> Tensor:
    """Returns the walks `(rows, steps, *event_shape)` of which `at` gives the points at a time from 0 to 1."""

    with torch.no_grad(), undisturbed(model):
        points = [outgoing(at(t), model, "walks").cpu() for t in np.linspace(0, 1, steps).tolist()]
    return torch.stack(points, 1)


def _ends(tree: Nested) -> tuple[Nested, Nested]:
    """Divides noise or codes into those with even and with odd numbers, the starts and the ends of walks."""
    return tree_map(lambda e: e[0::2], tree), tree_map(lambda e: e[1::2], tree)
