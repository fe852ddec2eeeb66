"""Learned variances: where the ideal ones are known the bound is tight, and training finds them."""

from __future__ import annotations

import pytest
import torch
from closed_forms import MEAN, STD, assert_gaussian, normal_log_prob
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.schedules import posterior_variances
from dgm_diffusion.training import Denoise
from torch import nn

from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks

STEPS = {"steps": 12, "name": "vp"}


@parametrize_with_checks([DDPM({"variance": "learned", **DDPM.example})])
def test_conformance(check, device):
    check(device)


def ideal_shares(model):
    """Where the variance of the reversed chain lies for Gaussian data, of each time."""

    beta, bar = model.betas.double(), model.alpha_bar.double()
    small = posterior_variances(beta, bar)
    before = torch.cat([torch.ones(1).double(), bar[:-1]])
    weight = before.sqrt() * beta / (1 - bar)
    unknown = STD**2 * (1 - bar) / (bar * STD**2 + 1 - bar)  # the variance of x_0 given x_t
    floor = torch.cat([small[1:2], small[1:]])
    return (((small + weight.square() * unknown) / floor).log() / (beta / floor).log()).float()


class Ideal(nn.Module):
    """E[eps | x_t], and the best shares."""

    def __init__(self, model):
        super().__init__()
        self.coefficients, self.steps, self.shares = (
            model.coefficients,
            model.config.schedule.steps,
            ideal_shares(model),
        )

    def forward(self, x, t):
        k = (t * self.steps / 1000).round().long()
        a, s = self.coefficients(k, x)
        eps = s * (x - a * MEAN) / (a**2 * STD**2 + s**2)
        return torch.cat([eps, (2 * self.shares[k].view(-1, 1) - 1).expand_as(x)], 1)


class Halved(nn.Module):
    """The prediction alone."""

    def __init__(self, network):
        super().__init__()
        self.network = network

    def forward(self, x, t):
        return self.network(x, t)[:, :2]


def ideal(**config):
    model = DDPM({"variance": "learned", "schedule": STEPS, **config}).eval()
    model.network = Ideal(model)
    return model


def test_the_bound_is_tight_with_the_variances_of_the_reversed_chain():
    x = MEAN + STD * IndexedNoise(3, 4000).normal(2)
    truth = float(normal_log_prob(x).mean())
    model = ideal()
    with torch.no_grad():
        assert float(model.log_prob(x).mean()) == pytest.approx(truth, abs=0.03)
        for other in ("small", "large"):
            plain = DDPM({"variance": other, "schedule": STEPS}).eval()
            plain.network = Halved(model.network)
            assert float(plain.log_prob(x).mean()) < truth - 0.08, other


def test_few_steps_draw_the_data():
    model = ideal()
    first = float(1 - model.alpha_bar[0])
    unknown = STD**2 * first / ((1 - first) * STD**2 + first)  # what the last step would add, were it noisy
    assert_gaussian(model.sample(IndexedNoise(0, 8000)), 0.02, std=(STD**2 - unknown) ** 0.5)
    half = ideal(schedule={"steps": 400, "name": "vp"}).sample(IndexedNoise(0, 4000), steps=200)
    assert_gaussian(half, 0.05)


def test_training_finds_the_variances():
    torch.manual_seed(0)
    model = DDPM({"variance": "learned", "schedule": STEPS, "network": {"kind": "mlp", "width": 32, "depth": 2}})
    phase = Denoise(model, Denoise.Options(bound_weight=0.05))
    optimizer = torch.optim.Adam(model.parameters(), 3e-3)
    for i in range(300):
        noise = StreamNoise(0, 256, scope=str(i))
        loss = phase.losses(MEAN + STD * noise.child("data").normal(2), noise).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = MEAN + STD * IndexedNoise(1, 1000).normal(2)
    t = torch.arange(12).repeat_interleave(1000)
    at = model.diffuse(x.repeat(12, 1), IndexedNoise(2, 12_000).normal(2), t)
    with torch.no_grad():
        share = model.outputs(at, t)[1].view(12, 1000, 2).mean((1, 2))
        beta = model.betas
        between = (beta[1:] / posterior_variances(beta, model.alpha_bar)[1:]).log()
        gap = ((share - ideal_shares(model))[1:] * between).abs().max()
        bound, best = (float(m.eval().log_prob(x).mean()) for m in (model, ideal()))
    assert gap < 0.1, f"log-variances are off by {gap:.2f}"
    assert best - 0.1 < bound < best + 0.02


def test_only_the_variances_feel_the_bound():
    torch.manual_seed(0)
    model = DDPM({"variance": "learned", "schedule": STEPS, "network": {"kind": "mlp", "width": 8, "depth": 1}})
    noise, x = StreamNoise(0, 32), torch.randn(32, 2)

    def gradient(weight):
        phase = Denoise(model, Denoise.Options(bound_weight=weight))
        loss = phase.losses(x, StreamNoise(0, noise.n)).mean()
        return torch.autograd.grad(loss, model.network.last.weight)[0]

    without, with_bound = gradient(0.0), gradient(1.0)
    assert torch.allclose(without[:2], with_bound[:2])
    assert without[2:].abs().max() == 0 < with_bound[2:].abs().max()
