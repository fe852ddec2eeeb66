"""Glow: an exact bijection of images, initialised by data."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_flows.glow import Coupling, Glow, squeeze, unsqueeze
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmcore.errors import DgmError, UsageError
from dgmcore.noise import IndexedNoise


def make(shape=(1, 8, 8), steps=(2, 2), seed=0, spread=0.1):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Glow({"event_shape": shape, "steps": steps, "hidden": [6] * len(steps)}).double()
        x = torch.rand(16, *shape, dtype=torch.float64) * 2 - 1
        model.initialize(x)
        for p in model.parameters():
            p.data.add_(torch.randn_like(p), alpha=spread)
        return model.eval(), x


@settings(max_examples=6, deadline=None)
@given(
    channels=st.integers(1, 3),
    height=st.integers(1, 2),
    width=st.integers(1, 2),
    steps=st.lists(st.integers(1, 2), min_size=1, max_size=3),
    seed=st.integers(0, 9),
)
def test_decoding_inverts_encoding(channels, height, width, steps, seed):
    scale = 2 ** len(steps)
    model, x = make((channels, scale * height, scale * width), tuple(steps), seed)
    codes = model.encode(x)
    assert {k: tuple(v.shape[1:]) for k, v in codes.items()} == dict(model.noise_shapes)
    assert sum(math.prod(s) for s in model.noise_shapes.values()) == math.prod(model.event_shape)
    assert torch.allclose(model.decode(codes), x, atol=1e-9)


def test_the_log_determinant_is_that_of_the_jacobian():
    model, x = make((2, 4, 4))
    x = x[:3]
    codes, ladj = model.transform(x)

    def flat(v):
        return torch.cat([c.flatten() for c in model.encode(v.view(1, 2, 4, 4)).values()])

    expected = [torch.linalg.slogdet(torch.autograd.functional.jacobian(flat, row.flatten())).logabsdet for row in x]
    assert torch.allclose(ladj, torch.stack(expected), atol=1e-9)
    z = torch.cat([c.flatten(1) for c in codes.values()], 1)
    log_normal = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert torch.allclose(model.log_prob(x), log_normal + torch.stack(expected), atol=1e-9)


def test_initialisation_standardises_the_data():
    model, x = make(spread=0.0, steps=(1,))
    z = model.encode(100 * x + 3)["level1"]
    assert z.std() > 10, "the fit is to other data"
    model.initialize(100 * x + 3)
    step = model.levels[0].steps[0]
    normed = squeeze(100 * x + 3) * step.log_scale.exp()[:, None, None] + step.shift[:, None, None]
    assert torch.allclose(normed.mean((0, 2, 3)), torch.zeros(4, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(normed.std((0, 2, 3)), torch.ones(4, dtype=torch.float64), atol=1e-4)


def test_a_constant_channel_does_not_break_the_initialisation():
    model = Glow({"event_shape": (1, 4, 4), "steps": (2,), "hidden": (4,)})
    model.initialize(torch.zeros(8, 1, 4, 4))
    assert all(p.isfinite().all() for p in model.parameters())


def test_all_parameters_learn():
    model, x = make()
    model.log_prob(x).sum().backward()
    for name, p in model.named_parameters():
        assert p.grad is not None and p.grad.isfinite().all(), name


def test_temperature_scales_the_noise():
    model, _ = make()
    with torch.no_grad():
        cold = model.sample(IndexedNoise(0, 4, dtype=torch.float64), temperature=0.0)
        assert torch.allclose(cold, cold[:1].expand_as(cold))
        eps = IndexedNoise(0, 4, dtype=torch.float64).named(model.noise_shapes)
        warm = model.sample(IndexedNoise(0, 4, dtype=torch.float64), temperature=0.5)
        assert torch.allclose(warm, model.push({k: 0.5 * e for k, e in eps.items()}))
        assert torch.allclose(model.sample(IndexedNoise(0, 4, dtype=torch.float64)), model.push(eps))
    with pytest.raises(DgmError):
        model.sample(IndexedNoise(0, 4), temperature=-1.0)


def test_a_coupling_scales_by_a_sigmoid_between_a_twentieth_and_one():
    coupling, x = Coupling(4, 6), torch.randn(3, 4, 2, 2)
    _, log_det = coupling.encode(x)
    numbers = 2 * 2 * 2  # half of the channels
    assert torch.allclose(log_det, torch.full((3,), numbers * math.log(0.05 + 0.95 / (1 + math.exp(-2)))))
    for raw, scale in ((50.0, 1.0), (-50.0, 0.05)):
        torch.nn.init.constant_(coupling.leave.conv.bias, raw)
        assert torch.allclose(coupling.encode(x)[1], torch.tensor(numbers * math.log(scale)))


def test_squeezing_keeps_every_number():
    x = torch.arange(2 * 3 * 4 * 6.0).view(2, 3, 4, 6)
    assert squeeze(x).shape == (2, 12, 2, 3)
    assert torch.equal(unsqueeze(squeeze(x)), x)


@pytest.mark.parametrize(
    "config", [{"event_shape": [1, 10, 8], "steps": [1, 1], "hidden": [4, 4]}, {"steps": [1, 1], "hidden": [4]}]
)
def test_impossible_shapes_are_refused(config):
    with pytest.raises(UsageError) as error:
        Glow(config)
    assert error.value.hint
