"""Dynamics of energies as flows: known answers, and what training them does."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_ebms.networks import MLPEnergy
from dgm_ebms.odeflow import ODEFlow, ascent
from dgm_ebms.training import Contrastive, FlowLikelihood
from torch import nn

from dgmcore import IndexedNoise, Model
from dgmcore.config import Config
from dgmcore.errors import OptionError
from dgmcore.interfaces import capabilities
from dgmcore.testing import parametrize_with_checks

T, START = 0.7, 1.3
A = torch.tensor([[2.0, 0.6], [0.6, 1.0]], dtype=torch.float64)
MEAN = torch.tensor([0.5, -1.0], dtype=torch.float64)


@parametrize_with_checks(["ebms"])
def test_conformance(check, device):
    check(device)


class Quadratic(Model):
    """The energy of a Gaussian, E(x) = (x - m)^T A (x - m) / 2; it is differentiated by autograd."""

    class Config(Config):
        dim: int = 2

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (self.config.dim,)
        self.A = nn.Parameter(A[: self.config.dim, : self.config.dim].clone())
        self.register_buffer("mean", MEAN[: self.config.dim].clone())

    def score(self, x):
        return -torch.einsum("ni,ij,nj->n", x - self.mean, self.A, x - self.mean) / 2


@pytest.fixture
def gaussian():
    return ODEFlow({"time": T, "start_scale": START}, energy=Quadratic()).eval()


@pytest.fixture
def learned():
    torch.manual_seed(0)
    return ODEFlow({}, energy=MLPEnergy({"event_shape": [2], "hidden": [16, 16], "frequencies": 1})).double().eval()


def noise(n=200, seed=0):
    return IndexedNoise(seed, n, dtype=torch.float64)


def flow(t=T):
    """exp(-A t), which carries x(0) - m to x(t) - m."""

    return torch.linalg.matrix_exp(-A * t)


# --- known answers -------------------------------------------------------------------------------


@pytest.mark.parametrize(("solver", "error"), [("rk4", 1e-6), ("dopri5", 1e-4), ("euler", 0.2)])
def test_descent_of_a_gaussians_energy_is_an_exponential(gaussian, solver, error):
    start = START * noise().named(gaussian.noise_shapes)["x"]
    expected = MEAN + (start - MEAN) @ flow()
    x = gaussian.sample(noise(), solver=solver)
    assert (x - expected).abs().max() < error
    states = list(gaussian.trajectory(noise(), solver="rk4", steps=10))
    halfway = MEAN + (start - MEAN) @ flow(T / 2)
    assert torch.equal(states[0], start)
    assert (states[5] - halfway).abs().max() < 1e-5


def test_euler_is_the_power_of_one_step(gaussian):
    """Eq. 5.9: x_K = (I - eta/2 grad E)^K (x_0)."""

    start = START * noise().named(gaussian.noise_shapes)["x"]
    step = torch.linalg.matrix_power(torch.eye(2).double() - T / 7 * A, 7)
    x = gaussian.sample(noise(), solver="euler", steps=7)
    assert torch.allclose(x, MEAN + (start - MEAN) @ step)


def test_euler_converges_to_the_solution_with_order_one(learned):
    with torch.no_grad():
        exact = learned.sample(noise(), solver="dopri5", tolerance=1e-9)
    learned.requires_grad_(False)
    errors = [(learned.sample(noise(), solver="euler", steps=k) - exact).abs().max() for k in (50, 100, 200)]
    assert float(errors[0] / errors[1]) == pytest.approx(2, rel=0.05)
    assert float(errors[1] / errors[2]) == pytest.approx(2, rel=0.05)
    assert (learned.sample(noise(), steps=20) - exact).abs().max() < 1e-6


@pytest.mark.parametrize("options", [{"solver": "dopri5", "tolerance": 1e-8}, {"steps": 60}])
def test_density_of_a_gaussians_flow_is_gaussian(gaussian, options):
    """x(T) ~ N(m - exp(-AT) m, sigma_0^2 exp(-2AT)): the density of the samples, which is not exp(-E) / Z."""

    target = torch.distributions.MultivariateNormal(MEAN - MEAN @ flow(), START**2 * flow(2 * T))
    x = target.mean + torch.randn(100, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (gaussian.log_prob(x, **options) - target.log_prob(x)).abs().max() < 1e-5


def test_hutchinsons_trace_is_unbiased(learned):
    x = learned.sample(noise(4)).detach()
    with torch.no_grad():
        exact = learned.log_prob(x)
        many = x.repeat(250, 1)
        one = learned.log_prob(many, noise=noise(1000), trace="hutchinson").view(250, 4)
        four = learned.log_prob(many, noise=noise(1000), trace="hutchinson", probes=4).view(250, 4)
        unseeded = learned.log_prob(many, trace="hutchinson").view(250, 4)
    assert one.std(0).max() > 1e-3
    assert ((one.mean(0) - exact).abs() <= 4 * one.std(0) / math.sqrt(250)).all()
    assert torch.allclose(four.std(0), one.std(0) / 2, rtol=0.2)
    assert torch.equal(one, unseeded)  # no noise stands for seed 0


def test_densities_of_bent_flows_integrate_to_one(learned):
    with torch.no_grad():
        learned.parts["energy"].net[-1].weight.mul_(60)  # so that the flow is far from the identity
    line = torch.linspace(-6, 6, 81, dtype=torch.float64)
    with torch.no_grad():
        mass = learned.log_prob(torch.cartesian_prod(line, line), steps=8).exp().sum() * (line[1] - line[0]) ** 2
    assert (learned.sample(noise()) - noise().normal(2, name="x")).abs().max() > 0.5
    assert abs(mass - 1) < 1e-3


def test_codes_are_starts(learned):
    x = learned.sample(noise(), steps=20)
    assert (learned.encode(x) - noise().normal(2, name="x")).abs().max() < 1e-5
    assert (learned.decode(learned.encode(x)) - x).abs().max() < 1e-5
    assert capabilities(ODEFlow) == ["generator", "pushforward", "trajectory", "critic", "density", "encoder"]


def test_unknown_solvers_are_named(learned):
    with pytest.raises(OptionError, match="solver"):
        learned.sample(noise(), solver="heun")


@pytest.mark.parametrize("config", [{"frequencies": 2, "scale": 1.7}, {}, {"event_shape": [1, 2, 1], "scale": 0.5}])
def test_a_networks_own_derivatives_are_autograds(config):
    torch.manual_seed(1)
    net = MLPEnergy({"event_shape": [2], "hidden": [8, 8, 8], **config}).double()

    class Plain:
        score = staticmethod(net.score)

    x = noise(5).normal(*net.event_shape)
    tangents = noise(5).repeat(3).normal(*net.event_shape).view(3, 5, *net.event_shape)
    gradients = []
    for critic in (net, Plain):
        v, c = ascent(critic, x.requires_grad_(True), tangents)
        loss = (v.square().flatten(1).sum(1) * torch.arange(5) + c.square()).sum()
        weights = [p for p in net.parameters() if p is not net.net[-1].bias]
        gradients.append((v, c, *torch.autograd.grad(loss, [x, *weights])))
    for mine, theirs in zip(*gradients, strict=True):
        assert torch.allclose(mine, theirs)
    with torch.no_grad():
        for critic in (net, Plain):
            assert torch.allclose(ascent(critic, x)[0], gradients[0][0])
            assert not any(t.requires_grad for t in ascent(critic, x, tangents))


# --- training ------------------------------------------------------------------------------------


def options(phase, **given):
    return phase.Options(**given)


@pytest.mark.parametrize("w", [0.0, 1.0, 2.0])
def test_gradient_of_equation_5_14(step, w):
    """E = a x^2 / 2 in one dimension, K Euler steps: x_K = (1 - h a)^K x_0."""

    a, steps = float(A[0, 0]), 4
    energy = Quadratic({"dim": 1})
    energy.mean.zero_()
    model = ODEFlow({"time": T}, energy=energy)
    data = torch.tensor([[0.3], [-1.2]], dtype=torch.float64)
    phase = Contrastive(model, options(Contrastive, generator_weight=w, solver="euler", steps=steps))
    trainer = step(phase, lambda noise: data, 2)
    trainer.noise = lambda n: noise(n)
    trainer.go(1)

    start, h = noise(2).normal(1, name="x"), T / steps
    end = (1 - h * a) ** steps * start
    by_a = -h * steps * (1 - h * a) ** (steps - 1) * start
    expected = data.square() / 2 - end.square() / 2 + w * a * end * by_a
    assert torch.allclose(energy.A.grad.squeeze(), expected.mean())


def test_one_network_has_the_gradient_of_two_copies(learned):
    """Eq. 5.14 with sg(theta) taken literally: a twin of the energy that judges and is not trained."""

    phase = Contrastive(learned, options(Contrastive, generator_weight=1.0))
    twin = MLPEnergy(learned.parts["energy"].config).double().requires_grad_(False)
    twin.load_state_dict(learned.parts["energy"].state_dict())
    samples = learned.solve(noise(20).normal(2), learned.sampling({"solver": "rk4", "steps": 5}))
    weights = [p for p in learned.parameters() if p is not learned.parts["energy"].net[-1].bias]
    loss = phase.generator_loss(samples)
    assert torch.allclose(loss, twin.energy(samples))
    mine = torch.autograd.grad(loss.mean(), weights, retain_graph=True)
    theirs = torch.autograd.grad(twin.energy(samples).mean(), weights)
    assert all(torch.allclose(a, b) for a, b in zip(mine, theirs, strict=True))


def oblong(noise):
    """A Gaussian of deviations 0.6 and 0.3 around (1, -0.5)."""

    return torch.tensor([1.0, -0.5]) + torch.tensor([0.6, 0.3]) * noise.normal(2)


@pytest.mark.parametrize(
    ("phase", "given"),
    [(Contrastive, {}), (Contrastive, {"generator_weight": 0.1}), (FlowLikelihood, {"steps": 2})],
)
def test_training_approaches_the_entropy(step, phase, given):
    torch.manual_seed(0)
    model = ODEFlow({"time": 1.0}, energy=MLPEnergy({"event_shape": [2], "hidden": [16, 16]}))
    entropy = math.log(0.6 * 0.3 * 2 * math.pi * math.e)

    @torch.no_grad()
    def excess():
        return float(-model.log_prob(oblong(IndexedNoise(5, 2000))).mean() - entropy)

    before = excess()
    step(phase(model, options(phase, **{"solver": "rk4", "steps": 3, **given})), oblong, 64, 5e-3).go(120)
    assert excess() < 0.2 * before
