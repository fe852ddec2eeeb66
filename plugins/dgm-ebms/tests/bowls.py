"""An energy of which all is known, and its noise."""

from __future__ import annotations

import torch
from dgm_ebms.ebm import EBM
from torch import nn

from dgmcore import IndexedNoise, Model

N = 4000


class Bowl(Model):
    """The score -a |x|^2 / 2."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape, self.a = (2,), nn.Parameter(torch.tensor(2.0))

    def score(self, x):
        return -self.a * x.square().sum(1) / 2


def bowl(a=2.0, **config):
    model = EBM(config, energy=Bowl())
    model.parts["energy"].a.data.fill_(a)
    return model


def noise(n=N, seed=0):
    return IndexedNoise(seed, n)
