"""Chains of an energy that start at another generator's draws."""

from __future__ import annotations

import math
from types import SimpleNamespace

import pytest
import torch
from bowls import Bowl, N, noise
from dgm_ebms.ebm import StartedEBM
from dgm_ebms.training import MaximumLikelihood

from dgmcore import Model
from dgmcore.errors import UsageError


class Ring(Model):
    """Draws of length one."""

    def __init__(self, d=2):
        super().__init__()
        self.event_shape = (d,)

    def sample(self, noise, **options):
        return torch.nn.functional.normalize(noise.normal(*self.event_shape), dim=1)


def test_chains_start_at_the_draws_of_a_generator():
    model = StartedEBM({"reference_std": 0.5}, energy=Bowl(), start=Ring())
    start, *_, end = model.trajectory(noise(), steps=400, step_size=0.02)
    assert torch.allclose(start.norm(dim=1), torch.ones(N)) and abs(float(start.mean())) < 0.06
    assert abs(float(end.std()) - 1 / math.sqrt(2 + 4)) < 0.02  # what the energy and its reference say
    (trained, *_) = MaximumLikelihood(model, MaximumLikelihood.Options()).parameters()["model"]
    assert trained is model.parts["energy"].a


def test_chains_start_at_draws_of_the_same_data_only():
    with pytest.raises(UsageError, match=r"shape \[3\].*\[2\]"):
        StartedEBM({}, energy=Bowl(), start=Ring(3))
    start = Ring()
    start.entry = SimpleNamespace(data=SimpleNamespace(range=(0.0, 1.0)))
    assert StartedEBM({}, energy=Bowl(), start=start).data_range == (0.0, 1.0)  # others are refused by whoever loads
