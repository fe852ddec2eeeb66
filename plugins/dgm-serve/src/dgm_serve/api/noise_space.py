r"""The noise of a pushforward: which of it is free, where a sample starts, and where it changes most.

A direction at noise :math:`\epsilon` is a right singular vector of the Jacobian :math:`J` of the map of noise to data:
of all changes of a length, the first makes the largest change of the picture. They are found by a randomised
decomposition [1]: an orthonormal basis :math:`Q` of :math:`J \Omega` for random :math:`\Omega`, then the singular
vectors of :math:`Q^T J`.

References:
    [1] Finding Structure with Randomness (Halko, Martinsson and Tropp, 2011), algorithms 4.1 and 5.1
    [2] Animating rotation with quaternion curves (Shoemake, 1985); Sampling Generative Networks (White, 2016)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from dgmcore.compose.nested import flatten, tree_map, unflatten
from dgmcore.errors import UsageError
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise

from ..work import check_stop

__all__ = [
    "DIRECTIONS",
    "along",
    "directions",
    "great_circle",
    "held_at_zero",
    "noise_of",
    "noise_sizes",
    "pad_name",
    "pad_noise",
]

DIRECTIONS = 4
_EXTRA = 4  # random directions more than those that are wanted
_STEP = 0.02  # of the difference quotients


def noise_sizes(model: Model) -> dict[str, int]:
    """Returns how many numbers each noise of a pushforward has, by its path."""
    return {name: math.prod(shape) for name, shape in flatten(model.noise_shapes).items()}


def held_at_zero(model: Model) -> set[str]:
    """Returns the noises that samples have at zero: that of pixels, where a model draws its decoder's mean."""
    return {"x"} if getattr(model.sampling(), "mean", False) is True else set()


def pad_name(model: Model) -> str | None:
    """Returns the name of the noise that has two numbers, if all the rest is held at zero; else None."""

    free = {name: size for name, size in noise_sizes(model).items() if name not in held_at_zero(model)}
    return next(iter(free)) if list(free.values()) == [2] else None


def pad_noise(model: Model, points: Sequence[tuple[float, float]]) -> Any:
    """Returns the noise of points of the pad.

    Raises:
        UsageError: If the model's noise is no plane.
    """

    name = pad_name(model)
    if name is None:
        raise UsageError("the model's noise is no plane", "ask for a sample's noise, by its index")
    z = torch.tensor(points, device=model.device, dtype=model.dtype)
    shapes = flatten(model.noise_shapes)
    flat = {key: z.view(-1, *shape) if key == name else z.new_zeros(len(z), *shape) for key, shape in shapes.items()}
    return unflatten(flat)


def noise_of(model: Model, seed: int, index: int) -> Any:
    """Returns the noise from which sample `index` of a seed is made, as the model's sampling defaults scale it."""

    eps = IndexedNoise.of(model, seed, 1, index).named(model.noise_shapes)
    temperature, held = getattr(model.sampling(), "temperature", 1.0), held_at_zero(model)
    for name in eps:
        scale = 0.0 if name in held else 1.0 if name == "x" else temperature
        eps[name] = tree_map(lambda e, scale=scale: scale * e, eps[name])
    return eps


def along(model: Model, eps: Any, lengths: Sequence[float]) -> Any:
    """Returns noise, of one sample, moved by `lengths` along its strongest directions."""

    for length, direction in zip(lengths, directions(model, eps), strict=False):
        eps = tree_map(lambda e, d, length=length: e + length * d, eps, direction)
    return eps


def great_circle(a: Tensor, b: Tensor, t: float) -> Tensor:
    """Returns the point at `t` of the great circle from noise `a` (t = 0) to `b` (t = 1), each `(1, *shape)` [2]."""

    u, v = a.flatten().double(), b.flatten().double()
    angle = (u @ v / (u.norm() * v.norm()).clamp_min(1e-12)).clamp(-1, 1).acos()
    if float(angle.sin()) < 1e-6:  # no angle, or no unique circle
        return (1 - t) * a + t * b
    return (((1 - t) * angle).sin() / angle.sin() * a + (t * angle).sin() / angle.sin() * b).to(a.dtype)


def directions(model: Model, eps: Any) -> list[Any]:
    """Returns the strongest directions at noise of one sample, each of its structure and of length 1."""

    held = held_at_zero(model)
    flat = flatten(eps)
    names = [name for name in flat if name not in held]
    sizes = [flat[name].numel() for name in names]
    rank = min(DIRECTIONS + _EXTRA, sum(sizes))

    def placed(v: Tensor, onto: float) -> dict[str, Tensor]:
        parts = dict(zip(names, v.split(sizes), strict=True))
        return {n: onto * e + (parts[n].view_as(e) if n in parts else 0.0) for n, e in flat.items()}

    def at(v: Tensor) -> Tensor:
        return model.push(unflatten(placed(v, 1.0))).flatten()

    omega = IndexedNoise(0, rank, device=model.device, dtype=model.dtype).normal(sum(sizes))
    omega = omega / omega.norm(dim=1, keepdim=True)
    with torch.no_grad():
        quotients = torch.stack([(at(_STEP * v) - at(-_STEP * v)) / (2 * _STEP) for v in omega], 1)
    basis, _ = torch.linalg.qr(quotients)
    with torch.enable_grad():
        v = torch.zeros_like(omega[0]).requires_grad_(True)
        y = at(v)
        rows = []
        for column in basis.T:
            check_stop()
            rows.append(torch.autograd.grad(y, v, column, retain_graph=True)[0])
    found = torch.linalg.svd(torch.stack(rows), full_matrices=False).Vh[:DIRECTIONS]
    signs = found.gather(1, found.abs().argmax(1, keepdim=True)).sign()  # one of the two that are as good
    return [unflatten(placed(v, 0.0)) for v in found * signs]
