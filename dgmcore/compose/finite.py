"""Chains stay among the finite numbers, or end with an error: what is not finite is never a sample."""

from __future__ import annotations

import torch
from torch import Tensor

from ..errors import NotFiniteError
from .nested import Nested, flatten

__all__ = ["finite_potential", "finite_state"]


def finite_potential(u: Tensor, step: int, *, barred: bool = False) -> Tensor:
    """Returns the potential of a chain's state, shape `(n,)`, before its step number `step`.

    Arguments:
        u: The potential.
        step: The number of steps made.
        barred: Whether it may be inf, which says that a state is impossible.

    Raises:
        NotFiniteError: If any of it is not finite.
    """
    good = u.isfinite() | (u == torch.inf) if barred else u.isfinite()
    if not good.all():
        _refuse("the potential", int((~good).sum()), u.shape[0], step)
    return u


def finite_state(eps: Nested, step: int) -> Nested:
    """Returns a chain's state after step number `step`; raises as :func:`finite_potential`."""
    good = torch.stack([e.isfinite().flatten(1).all(1) for e in flatten(eps).values()]).all(0)
    if not good.all():
        _refuse("the state", int((~good).sum()), good.shape[0], step)
    return eps


def _refuse(what: str, bad: int, n: int, step: int) -> None:
    if step:
        raise NotFiniteError(
            f"{what} of {bad} of {n} chains is not finite after {step} steps",
            "take a smaller step_size, or set gradient_clip",
        )
    raise NotFiniteError(
        f"the critic's score of {bad} of {n} samples is not finite, before the first step",
        "check the critic: its weights, and the data that it was trained on",
    )
