r"""Walks and reconstructions in the space of noise or codes.

Between two draws :math:`a, b` of Gaussian noise the way is the great circle [1]

.. math:: s_t(a, b) = \frac{\sin((1 - t) \omega)}{\sin \omega} a + \frac{\sin(t \omega)}{\sin \omega} b,
          \qquad \cos \omega = \frac{a \cdot b}{|a| |b|},

on which the norm stays that of typical noise.

References:
    [1] Animating rotation with quaternion curves (Shoemake, 1985); Sampling Generative Networks (White, 2016)
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from ..compose import tree_map
from ..errors import DataError, UsageError
from ..noise import IndexedNoise
from .draw import in_range, model_name

if TYPE_CHECKING:
    from ..model import Model

__all__ = ["beside", "between_data", "between_samples", "check_encoder", "reconstruct", "slerp"]


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
    noise = IndexedNoise(seed, 2 * rows, device=model.device, dtype=model.dtype).named(model.noise_shapes)
    chosen = model.sampling()
    temperature = getattr(chosen, "temperature", 1.0)
    scales = {name: 1.0 if name == "x" else temperature for name in noise}
    if getattr(chosen, "mean", False) is True:
        scales["x"] = 0.0
    noise = {name: tree_map(lambda e, name=name: scales[name] * e, tree) for name, tree in noise.items()}
    start, end = (tree_map(lambda e, k=k: e[k::2], noise) for k in (0, 1))
    return _walk(model, lambda t: model.push(tree_map(lambda a, b: slerp(a, b, t), start, end)), steps)


def between_data(model: Model, x: Tensor, steps: int) -> Tensor:
    """Returns walks between the codes of data `2 i` and `2 i + 1`, shape `(rows, steps, *event_shape)`.

    Arguments:
        model: An encoder.
        x: The data, `(n, *event_shape)`, n at least 2; an odd one out is left out.
        steps: The points of a walk, its ends included.
    """

    if len(x) < 2:
        raise DataError("a walk needs two data, its ends", "give more data")
    with torch.no_grad():
        code = model.encode(x[: len(x) // 2 * 2].to(model.device, model.dtype))
    start, end = (tree_map(lambda e, k=k: e[k::2], code) for k in (0, 1))
    return _walk(model, lambda t: model.decode(tree_map(lambda a, b: a + t * (b - a), start, end)), steps)


def reconstruct(model: Model, x: Tensor) -> Tensor:
    """Returns what the model makes of the codes of data, `(n, *event_shape)`, in the range of its data."""

    with torch.no_grad():
        return in_range(model.decode(model.encode(x.to(model.device, model.dtype))), model).cpu()


def beside(model: Model, x: Tensor, back: Tensor) -> np.ndarray:
    """Returns a picture of data with their reconstructions, uint8 `(H, W, C)`.

    Images are in pairs, the reconstruction to the right; points have lines to theirs.
    """

    from . import pictures

    canvas = pictures.Canvas(model)
    if canvas.kind == "image":
        pairs = torch.stack([x, back], 1).flatten(0, 1)
        pairs_in_row = max(1, round((len(x) / 2) ** 0.5))
        return pictures.grid(pictures.to_uint8(pairs, canvas.range), columns=2 * pairs_in_row)
    canvas.frame(x)
    ways = torch.stack([x.lerp(back, t) for t in torch.linspace(0, 1, 24)]).flatten(0, 1)
    return canvas.draw(ways)


def check_encoder(model: Model) -> None:
    """Refuses a model that has no codes."""

    if not model.can("encoder"):
        raise UsageError(
            f"{model_name(model)} has no codes: {type(model).__name__} is no encoder", "dgm list --can encoder"
        )


def _walk(model: Model, at: Callable[[float], Tensor], steps: int) -> Tensor:
    with torch.no_grad():
        return torch.stack([in_range(at(t), model).cpu() for t in np.linspace(0, 1, steps).tolist()], 1)
