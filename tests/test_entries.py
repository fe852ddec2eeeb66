"""Every entry of the bundled registry: what is promised of a model that a user can draw from."""

from __future__ import annotations

import pytest
import torch

import dgmcore
from dgmcore.registry import list_models
from dgmcore.sampling.draw import model_range, sample

NAMES = [m["name"] for m in list_models(can="generator") if m["available"]]


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_depend_on_batches_or_number(name):
    model = dgmcore.load(name)
    five = sample(model, 5, batch_size=5, seed=3)
    low, high = model_range(model) or (five.min().item(), five.max().item())
    near = {"rtol": 0, "atol": 1e-3 * (high - low)}
    assert five.shape == (5, *model.event_shape)
    torch.testing.assert_close(sample(model, 5, batch_size=2, seed=3), five, **near)
    torch.testing.assert_close(sample(model, 3, seed=3), five[:3], **near)
    assert (sample(model, 1, seed=4) - five[:1]).abs().max() > 1e-2 * (high - low)  # another seed, another sample
