"""The loss on held-out data."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch

from dgmcore.noise import IndexedNoise

from .state import PhaseState, Run

__all__ = ["as_it_will_be", "validation_loss"]

DATA, BATCH = 10_000, 500


@torch.no_grad()
def validation_loss(run: Run, state: PhaseState) -> float | None:
    """Returns the mean loss of the phase on held-out data, each process measuring its share; None if it has none.

    It is that of the averaged weights, if there are any, in eval mode, on up to 10,000 data.
    """

    data, processes = run.validation, run.processes
    if data is None:
        return None
    n = min(len(data), DATA)
    total, count, measures = 0.0, 0, True
    with as_it_will_be(state):
        for start in range(processes.rank * BATCH, n, processes.world * BATCH):
            x = data.take(np.arange(start, min(start + BATCH, n))).to(processes.device)
            noise = IndexedNoise(run.recipe.seed, len(x), start, device=x.device, scope="validation")
            losses = state.phase.validate(x, noise)
            if losses is None:
                measures = False
                break
            total, count = total + float(losses.double().sum()), count + len(x)
    if processes.any(not measures):
        return None
    return processes.mean(total) / processes.mean(count)


@contextmanager
def as_it_will_be(state: PhaseState) -> Iterator[None]:
    """For a while the model is as when training is over: in eval mode, with its averaged weights if there are any."""

    modes = {module: module.training for module in state.model.modules()}
    with state.ema.applied():
        try:
            state.model.eval()
            yield
        finally:
            for module, mode in modes.items():
                module.training = mode
