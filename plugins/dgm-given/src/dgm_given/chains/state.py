"""The state of chains, and the choice between two states."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import torch
from torch import Tensor

__all__ = ["State", "Target", "chosen", "energy"]


class State(NamedTuple):
    r"""Where `n` chains are.

    Attributes:
        eps: Their noise, `(n, D)`, flat.
        phi: The potential without the Gaussian's part, :math:`\Phi(\epsilon)`, `(n,)`.
        slope: Its gradient, `(n, D)`, where a kernel follows it.
        view: A few numbers that say where the data are, `(n, k)`: what is diagnosed.
    """

    eps: Tensor
    phi: Tensor
    slope: Tensor | None
    view: Tensor


class Target(Protocol):
    r"""A density :math:`\propto N(\epsilon; 0, I) \, e^{-\Phi(\epsilon)}`."""

    def evaluate(self, eps: Tensor, slopes: bool = False) -> State:
        """Returns the state at `eps`, `(n, D)`."""
        ...


def energy(state: State, heat: float | Tensor = 1.0) -> Tensor:
    r"""Returns :math:`U = |\epsilon|^2 / 2 + \lambda \Phi`, `(n,)`; for :math:`\Phi = \infty` it is infinite."""

    if isinstance(heat, Tensor):
        heat = heat.reshape(-1)
    return state.eps.square().sum(1) / 2 + (state.phi if isinstance(heat, float) and heat == 1.0 else heat * state.phi)


def chosen(accepted: Tensor, new: State, old: State) -> State:
    """Returns the new state of the chains that accepted it, `(n,)`, and the old one of the others."""

    column = accepted[:, None]
    slope = None if new.slope is None or old.slope is None else torch.where(column, new.slope, old.slope)
    eps = torch.where(column, new.eps, old.eps)
    return State(eps, torch.where(accepted, new.phi, old.phi), slope, torch.where(column, new.view, old.view))
