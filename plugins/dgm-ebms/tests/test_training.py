"""Energies learn densities that are known."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_ebms.ebm import EBM
from dgm_ebms.networks import MLPEnergy
from dgm_ebms.training import DenoisingScoreMatching, ImplicitScoreMatching, MaximumLikelihood, NoiseContrastive
from dgm_train.energy import ReplayBuffer, SpectralNorms, clip_by_adam

from dgmcore import IndexedNoise
from dgmcore.interfaces import capabilities

LINE = torch.linspace(-4, 4, 81)
GRID = torch.cartesian_prod(LINE, LINE)


def two_gaussians(noise):
    """Half of the mass at (-1, 0), half at (1, 0), deviation 0.4."""

    side = 2.0 * noise.integers(2).float() - 1
    return torch.stack([side, torch.zeros_like(side)], 1) + 0.4 * noise.normal(2)


def true_log_density(x, deviation=0.4):
    centres = torch.tensor([[-1.0, 0.0], [1.0, 0.0]])
    squares = torch.cdist(x, centres).square() / (2 * deviation**2)
    return torch.logsumexp(-squares, 1) - math.log(2 * 2 * math.pi * deviation**2)


@torch.no_grad()
def divergence(model, deviation=0.4):
    """KL(truth || model) by integration, the model normalised on the grid."""

    cell = float(LINE[1] - LINE[0]) ** 2
    log_p, log_q = true_log_density(GRID, deviation), model.score(GRID)
    log_q = log_q - torch.logsumexp(log_q, 0) - math.log(cell)
    return float((log_p.exp() * (log_p - log_q)).sum() * cell)


@pytest.fixture
def model():
    torch.manual_seed(0)
    net = MLPEnergy({"event_shape": [2], "hidden": [64, 64]})
    return EBM({"reference_std": 2.0, "start_scale": 1.5}, energy=net)


@pytest.mark.parametrize("chains", ["short-run", "persistent", "buffer"])
def test_maximum_likelihood(model, step, chains):
    options = MaximumLikelihood.Options(
        chains=chains, steps=15 if chains == "short-run" else 8, step_size=0.05, restart=0.1, buffer_size=1000
    )
    before = divergence(model)
    step(MaximumLikelihood(model, options), two_gaussians, 64, 1e-2, betas=(0.5, 0.99)).go(100)
    assert divergence(model) < 0.3 < before / 2
    x = model.eval().sample(IndexedNoise(0, 500), steps=60, step_size=0.05)
    assert abs((x[:, 0] > 0).float().mean() - 0.5) < 0.15
    assert abs(x[:, 1].std() - 0.4) < 0.15


def test_denoising_score_matching_finds_the_blurred_density(model, step):
    phase = DenoisingScoreMatching(model, DenoisingScoreMatching.Options(sigma=0.3))
    step(phase, two_gaussians, 256, 4e-3).go(200)
    assert divergence(model, math.hypot(0.4, 0.3)) < 0.1


@pytest.mark.parametrize("trace", ["exact", "hutchinson"])
def test_implicit_score_matching_finds_the_density_itself(model, step, trace):
    phase = ImplicitScoreMatching(model, ImplicitScoreMatching.Options(trace=trace))
    step(phase, two_gaussians, 256, 4e-3).go(250)
    assert divergence(model) < 0.1


def test_the_implicit_loss_is_that_of_the_formula(model):
    phase = ImplicitScoreMatching(model, ImplicitScoreMatching.Options())
    x = two_gaussians(IndexedNoise(0, 5))

    def score(point):
        return model.score(point[None])[0]

    for point, loss in zip(x, phase.loss(x, None), strict=True):
        gradient = torch.autograd.functional.jacobian(score, point)
        hessian = torch.autograd.functional.hessian(score, point)
        assert abs(float(loss) - float(hessian.trace() + gradient.square().sum() / 2)) < 1e-4


def test_noise_contrast_finds_the_density_and_its_normaliser(model, step):
    phase = NoiseContrastive(model, NoiseContrastive.Options(ratio=2))
    step(phase, two_gaussians, 256, 4e-3).go(300)
    assert divergence(model) < 0.1
    with torch.no_grad():
        mass = model.log_prob(GRID).exp().sum() * float(LINE[1] - LINE[0]) ** 2
    assert abs(mass - 1) < 0.1


def test_noise_contrast_draws_as_much_noise_as_it_is_asked_for(model, step, monkeypatch):
    phase, sizes = NoiseContrastive(model, NoiseContrastive.Options(ratio=3)), []
    known = phase.noise_log_prob
    monkeypatch.setattr(phase, "noise_log_prob", lambda x: sizes.append(len(x)) or known(x))
    step(phase, two_gaussians, 16, 4e-3).go(1)
    assert sizes == [16, 16 * 3]


def test_capabilities():
    assert capabilities(EBM) == ["generator", "trajectory", "critic", "density"]
    assert capabilities(MLPEnergy) == ["critic"]


def test_noise_free_chains_descend_and_stay_in_range(model):
    model = EBM({"range": [-1, 1], "start": "uniform"}, energy=model.parts["energy"]).eval()
    states = list(model.trajectory(IndexedNoise(0, 50), steps=20, noise_scale=0.0, step_size=0.05))
    scores = torch.stack([model.score(x).detach().mean() for x in states])
    assert (scores.diff() >= -1e-6).all()
    assert all(x.abs().max() <= 1 for x in states)
    assert torch.equal(states[-1], model.sample(IndexedNoise(0, 50), steps=20, noise_scale=0.0, step_size=0.05))


def test_a_clipped_gradient_moves_a_chain_by_no_more(model):
    a, b = model.trajectory(IndexedNoise(0, 50), steps=1, noise_scale=0.0, step_size=1.0, gradient_clip=0.01)
    assert (a - b).abs().max() <= 0.005 + 1e-6


# --- the tools -----------------------------------------------------------------------------------


def test_spectral_norms_are_the_largest_singular_values():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(3, 8, 3), torch.nn.Conv2d(8, 4, 1))
    norms = SpectralNorms(net, first=200)
    exact = sum(torch.linalg.matrix_norm(m.weight.flatten(1), 2) for m in net)
    assert abs(norms() - exact) < 1e-4
    again = SpectralNorms(net, first=0)
    again.restore(norms.state())
    assert abs(again() - exact) < 1e-4
    (gradient,) = torch.autograd.grad(norms(), net[2].weight)
    u, _, v = torch.linalg.svd(net[2].weight.flatten(1))
    assert torch.allclose(gradient.flatten(1), torch.outer(u[:, 0], v[0]), atol=1e-4)


def test_clipping_follows_adams_second_moment():
    p = torch.nn.Parameter(torch.zeros(3))
    optimizer = torch.optim.Adam([p], 1e-3, betas=(0.9, 0.999))
    p.grad = torch.tensor([1.0, -2.0, 0.0])
    clip_by_adam(optimizer)  # no state yet: nothing is clipped
    assert p.grad.tolist() == [1.0, -2.0, 0.0]
    optimizer.step()
    p.grad = torch.tensor([100.0, -100.0, 1.0])
    clip_by_adam(optimizer)  # v / (1 - beta2) = g^2
    assert torch.allclose(p.grad, torch.tensor([3.1, -6.1, 0.1]))


def test_the_buffer_is_first_in_first_out_and_survives_a_checkpoint():
    buffer = ReplayBuffer(4, {"z/0": (2,)})
    for value in range(6):
        buffer.put({"z/0": torch.full((1, 2), float(value))})
    assert len(buffer) == 4
    noise = IndexedNoise(0, 200)
    assert set(buffer.draw(noise)["z/0"][:, 0].tolist()) == {2.0, 3.0, 4.0, 5.0}
    twin = ReplayBuffer.from_state(buffer.state())
    assert torch.equal(twin.draw(IndexedNoise(0, 200))["z/0"], buffer.draw(IndexedNoise(0, 200))["z/0"])
    fresh = {"z/0": torch.full((1000, 2), -1.0)}
    mixed = twin.mix(fresh, 0.6, IndexedNoise(1, 1000))["z/0"][:, 0]
    assert abs((mixed >= 0).float().mean() - 0.6) < 0.06


def test_a_phase_goes_on_from_its_state(model, step):
    options = MaximumLikelihood.Options(steps=3, spectral_weight=0.1, energy_weight=0.1, adam_clip=3.0)
    first = step(MaximumLikelihood(model, options), two_gaussians, 16).go(3)
    other = MaximumLikelihood(model, options)
    other.restore(first.phase.state())
    state, again = first.phase.state(), other.state()
    assert state.keys() == again.keys()
    assert any(k.startswith("spectral/") for k in state)
    assert all(torch.equal(state[k], again[k]) for k in state)
