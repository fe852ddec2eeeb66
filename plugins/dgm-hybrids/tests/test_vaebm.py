"""VAEBM: its density, its chains, and its two stages of training."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from dgm_hybrids.training import EnergyPhase
from dgm_hybrids.vaebm import VAEBM
from torch import nn

from dgmcore import IndexedNoise, Likelihood, Model
from dgmcore.config import Config, Options
from dgmcore.errors import OptionError, UsageError
from dgmcore.interfaces import capabilities
from dgmcore.sampling.stream_noise import StreamNoise

LOG_2PI = math.log(2 * math.pi)


class LinearVAE(Model):
    """x = z + s eps_x with z ~ N(0, 1): p(x) = N(0, 1 + s^2), known in closed form."""

    class Config(Config):
        deviation: float = 0.5

    class Scoring(Options):
        k: int = 1

    likelihood = Likelihood.LOWER_BOUND
    noise_shapes: dict[str, Any]

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.noise_shapes = {"z": {"0": (2,)}, "x": (2,)}
        self.gain = nn.Parameter(torch.ones(()))

    def push(self, eps):
        return self.gain * eps["z"]["0"] + self.config.deviation * eps["x"]

    def sample(self, noise, **options):
        return self.push(noise.named(self.noise_shapes))

    def log_prob(self, x, *, noise=None, **options):
        v = 1 + self.config.deviation**2
        return (-x.square() / (2 * v) - 0.5 * math.log(v) - LOG_2PI / 2).sum(1)

    def joint(self, eps, log_sigma_min=None):
        x = self.push(eps)
        log_sigma = max(math.log(self.config.deviation), log_sigma_min)
        log_prior = (-eps["z"]["0"].square() / 2 - LOG_2PI / 2).sum(1)
        scaled = (x - self.gain * eps["z"]["0"]) / math.exp(log_sigma)
        return x, log_prior, (-scaled.square() / 2 - log_sigma - LOG_2PI / 2).sum(1)


class Quadratic(Model):
    """score(x) = b - a |x - c|^2 / 2 with trainable a, b and c."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.log_a = nn.Parameter(torch.tensor(-3.0))
        self.c = nn.Parameter(torch.zeros(2))
        self.bias = nn.Parameter(torch.zeros(()))

    def score(self, x):
        return self.bias - self.log_a.exp() * (x - self.c).square().sum(1) / 2


class Step:
    """The part of a training step that the phase uses; data are N((1, -1), 0.5^2)."""

    index, total, progress, device = 0, None, 0.0, torch.device("cpu")

    def __init__(self, phase, lr, size=128):
        self.phase, self.size, self.logged = phase, size, {}
        self.optimizers = {k: torch.optim.Adam(list(p), lr, betas=(0.5, 0.99)) for k, p in phase.parameters().items()}

    def batch(self):
        draw = StreamNoise(0, self.size, scope=f"batch{self.index}").normal(2)
        return torch.tensor([1.0, -1.0]) + 0.5 * draw

    def noise(self, n=None):
        return StreamNoise(1, n or self.size, scope=f"step{self.index}")

    def optimizer(self, name="model"):
        return self.optimizers[name]

    def log(self, **values):
        self.logged.update(values)

    def minimize(self, loss, optimizer="model", *, retain_graph=False):
        self.optimizers[optimizer].zero_grad()
        loss.backward()
        self.phase.adjust_gradients(self, optimizer)
        self.optimizers[optimizer].step()

    def go(self, steps):
        self.phase.setup(self)
        for self.index in range(steps):
            self.phase.step(self)
        return self


@pytest.fixture
def model():
    return VAEBM(base=LinearVAE(), critic=Quadratic())


def options(**changes):
    return EnergyPhase.Options(**{"spectral_weight": 0.0, "adam_clip": None, "step_size": 0.05, **changes})


def learned(model):
    """What the tilted model has learned, N(mean, deviation): precisions add."""

    a, base = float(model.parts["critic"].log_a.exp()), 1 / 1.25
    return (a * model.parts["critic"].c.detach() / (a + base)).tolist(), (a + base) ** -0.5


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 12},
        {"steps": 5, "buffer_size": 500, "buffer_probability": 0.9, "buffer_anneal": 10},
        {"steps": 0, "loss": "ratio"},
        {"steps": 30, "sampler": "metropolis", "step_size": 0.5},
    ],
)
def test_training_finds_the_data(model, changes):
    Step(EnergyPhase(model, options(**changes)), 0.1, 64).go(120)
    mean, deviation = learned(model)
    assert abs(mean[0] - 1) < 0.3
    assert abs(mean[1] + 1) < 0.3
    assert abs(deviation - 0.5) < 0.1
    x = model.eval().sample(IndexedNoise(0, 1000), steps=60, step_size=0.05)
    assert (x.mean(0) - torch.tensor(mean)).abs().max() < 0.1
    assert (x.std(0) - deviation).abs().max() < 0.1
    assert float(model.parts["base"].gain) == 1.0


def test_the_buffer_keeps_latents_only(model):
    step = Step(EnergyPhase(model, options(steps=1, buffer_size=500)), 0.01).go(2)
    state = step.phase.state()
    assert {k for k in state if k.startswith("buffer/")} == {"buffer/count", "buffer/states/z/0"}
    assert int(state["buffer/count"]) == 256


def test_the_generators_loss_moves_the_vae(model):
    Step(EnergyPhase(model, options(steps=1, kl_weight=1.0)), 0.01).go(3)
    assert float(model.parts["base"].gain) != 1.0
    model.shared_parts["base"] = "some-vae"
    with pytest.raises(OptionError):
        EnergyPhase(model, options(kl_weight=1.0))


def test_negatives_may_be_the_decoders_mean(model):
    phase = EnergyPhase(model, options(steps=0, negatives="mean"))
    negatives = phase.negatives(Step(phase, 0.1), IndexedNoise(0, 5))
    assert torch.equal(negatives, IndexedNoise(0, 5).named(model.chain_shapes)["z"]["0"])


def test_log_prob_is_the_vaes_plus_the_score(model):
    x = torch.randn(4, 2)
    expected = model.parts["base"].log_prob(x) + model.parts["critic"].score(x)
    assert torch.equal(model.log_prob(x), expected)
    assert model.likelihood is Likelihood.UNNORMALIZED
    assert capabilities(VAEBM) == ["generator", "trajectory", "density"]


def test_the_published_potential_differs_by_the_logarithms_of_deviations():
    exact = VAEBM(base=LinearVAE(), critic=Quadratic())
    published = VAEBM({"potential": "published"}, base=exact.parts["base"], critic=exact.parts["critic"])
    eps = IndexedNoise(0, 6).named(exact.chain_shapes)
    difference = published.potential(eps) - exact.potential(eps)
    assert torch.allclose(difference, torch.tensor(2 * math.log(0.5) + 2 * LOG_2PI), atol=1e-5)
    # and, where the decoder is sharper than e^-2, by the clamp
    sharp = VAEBM({"potential": "published"}, base=LinearVAE({"deviation": 0.05}), critic=Quadratic())
    norm = (eps["z"]["0"].square() + eps["x"].square() * (0.05 / math.exp(-2)) ** 2).sum(1) / 2
    expected = norm - 2 * 2 + 2 * LOG_2PI - sharp.critic_score(sharp.push(eps))
    assert torch.allclose(sharp.potential(eps), expected, atol=1e-5)


def test_a_base_without_densities_is_named():
    class Silent(LinearVAE):
        def __getattribute__(self, name):
            if name == "joint":
                raise AttributeError(name)
            return super().__getattribute__(name)

    with pytest.raises(UsageError):
        VAEBM({"potential": "published"}, base=Silent(), critic=Quadratic())


def test_chains_start_where_they_are_told():
    model = VAEBM(base=LinearVAE(), critic=Quadratic()).eval()
    first = next(model.trajectory(IndexedNoise(0, 5), start={"x": 0.0}))
    assert torch.equal(first, IndexedNoise(0, 5).named(model.chain_shapes)["z"]["0"])
    with pytest.raises(OptionError):
        model.sample(IndexedNoise(0, 5), start={"y": 0.0})
