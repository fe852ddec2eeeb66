"""What chains need of gradients: those of inputs only, step by step, whatever the mode around the chain."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import torch
from torch import Tensor, nn

__all__ = ["frozen", "gradients", "leaf", "step_frozen"]

S = TypeVar("S")


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Within it no parameter of the modules requires gradients: only those of inputs are computed."""
    live = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in live:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in live:
            p.requires_grad_(True)


def step_frozen(states: Iterator[S], *modules: nn.Module) -> Iterator[S]:
    """Yields the states of a chain; the modules are frozen during each step, as what runs between steps may train."""
    while True:
        with frozen(*modules):
            try:
                state = next(states)
            except StopIteration:
                return
        yield state


@contextmanager
def gradients() -> Iterator[None]:
    """Within it gradients are recorded, also inside of `torch.no_grad()` and `torch.inference_mode()`."""
    with torch.inference_mode(False), torch.enable_grad():
        yield


def leaf(x: Tensor) -> Tensor:
    """Returns the values of `x` as a tensor that gradients are taken of, a copy only if inference mode made `x`."""
    return (x.clone() if x.is_inference() else x.detach()).requires_grad_(True)
