"""A training step without the engine: batches by a function, plain optimisers."""

from __future__ import annotations

import pytest
import torch

from dgmcore.sampling.stream_noise import StreamNoise


class Step:
    """The part of :class:`dgmcore.training.phase.Step` that phases of energies use."""

    total, progress, device = None, 0.0, torch.device("cpu")

    def __init__(self, phase, draw, size=128, lr=1e-3, **adam):
        self.phase, self.draw, self.size, self.index, self.drawn = phase, draw, size, 0, 0
        self.optimizers = {k: torch.optim.Adam(list(p), lr, **adam) for k, p in phase.parameters().items()}
        self.logged = {}

    def batch(self):
        self.drawn += 1
        return self.draw(StreamNoise(0, self.size, scope=f"batch{self.drawn}"))

    def noise(self, n=None):
        return StreamNoise(1, n or self.size, scope=f"step{self.index}")

    def optimizer(self, name="model"):
        return self.optimizers[name]

    def log(self, **values):
        self.logged.update(values)

    def minimize(self, loss, optimizer="model", *, retain_graph=False):
        chosen = self.optimizers[optimizer]
        chosen.zero_grad()
        loss.backward(retain_graph=retain_graph)
        self.phase.adjust_gradients(self, optimizer)
        chosen.step()

    def go(self, steps):
        if not self.index:
            self.phase.setup(self)
        for _ in range(steps):
            self.phase.step(self)
            self.index += 1
        return self


@pytest.fixture
def step():
    return Step
