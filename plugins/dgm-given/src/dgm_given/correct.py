r"""What a model can't say of an observed datum, said after all: samples are corrected where they were seen.

A generator of few noises does not reach every datum. Its samples x then miss what was seen by more than sigma. Where
data are :math:`x + \tau e` with standard normal e, the expected datum given x and
:math:`y = A(x + \tau e) + \sigma n` is

.. math:: x + \tau^2 A^T (\tau^2 A A^T + \sigma^2 I)^{-1} (y - A x),

found by conjugate gradients. Nothing is changed that the operator does not see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from .chains.blocks import in_blocks
from .observation import Observation
from .operators import adjoint

__all__ = ["corrected", "heat_of"]

_ITERATIONS = 30
_BLOCK = 16  # samples at once: the arithmetic of an operator may depend on how many there are
_ROUNDS = 20  # of corrections and of cutting to the range


def heat_of(x: Tensor, seen: Sequence[Observation]) -> Tensor:
    """Returns the factor on log-likelihoods under which a miss is noise, `(n,)`: sigma^2 / misfit^2, at most 1."""

    factors = [(one.sigma / one.misfit(x).clamp(min=1e-12)).square() for one in seen]
    return torch.stack([*factors, torch.ones_like(factors[0])]).amin(0)


def corrected(x: Tensor, seen: Sequence[Any], limits: tuple[float, float] | None = None) -> Tensor:
    """Returns samples, corrected for one observation after another, `(n, *event_shape)`; others change nothing.

    With `limits` samples are brought into that range, and corrected again for what that undid, a few times.
    """

    def rounds(block: Tensor) -> tuple[Tensor]:
        for _ in range(1 if limits is None else _ROUNDS):
            for one in seen:
                if isinstance(one, Observation):
                    block = _corrected(block, one)
            if limits is not None:
                block = block.clamp(*limits)
        return (block,)

    return in_blocks(rounds, x, _BLOCK)[0]


def _corrected(x: Tensor, one: Observation) -> Tensor:
    with torch.no_grad():
        short = one.y.to(x) - one.seen(x)
        variance = (short.flatten(1).square().mean(1) - one.sigma**2).clamp(min=0) / max(one.gain(x), 1e-12)
    if not (variance > 0).any():
        return x
    tau2 = variance.reshape(-1, *[1] * (short.ndim - 1))

    def system(v: Tensor) -> Tensor:
        assert one.operator is None or callable(one.operator)
        back = v if one.operator is None else adjoint(one.operator, v, x)
        with torch.no_grad():
            return tau2 * one.seen(back) + one.sigma**2 * v

    solution = _conjugate_gradients(system, short)
    back = solution if one.operator is None else adjoint(one.operator, solution, x)  # type: ignore[arg-type]
    return x + variance.reshape(-1, *[1] * (x.ndim - 1)) * back


def _conjugate_gradients(system: Any, b: Tensor) -> Tensor:
    """Solves a positive definite system for each sample of its own."""

    def dot(u: Tensor, v: Tensor) -> Tensor:
        return (u * v).flatten(1).sum(1).reshape(-1, *[1] * (b.ndim - 1))

    x, r = torch.zeros_like(b), b.clone()
    p, size = r, dot(r, r)
    least = 1e-10 * size.clamp(min=1e-30)
    for _ in range(_ITERATIONS):
        if not (size > least).any():
            break
        image = system(p)
        rate = torch.where(size > least, size / dot(p, image).clamp(min=1e-30), torch.zeros_like(size))
        x, r = x + rate * p, r - rate * image
        after = dot(r, r)
        p = r + torch.where(size > least, after / size.clamp(min=1e-30), torch.zeros_like(size)) * p
        size = after
    return x
