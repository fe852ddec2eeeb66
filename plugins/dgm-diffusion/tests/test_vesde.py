"""The variance-exploding SDE and ddpm's probability flow against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from closed_forms import MEAN, STD, Denoiser, assert_gaussian, normal_log_prob
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.ddpmflow import ProbabilityFlow
from dgm_diffusion.training import MatchDenoiser
from dgm_diffusion.vesde import VESDE

from dgmcore.errors import DgmError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks


@parametrize_with_checks(["ve-sde", "ddpm-flow"])
def test_conformance(check):
    check()


def ideal(**config) -> VESDE:
    model = VESDE({"sigma_max": 20.0, **config}).eval()
    model.network = Denoiser(model)
    return model


SAMPLERS = [
    ({}, 0.01),
    ({"sampler": "reverse-diffusion", "steps": 200}, 0.03),
    ({"sampler": "predictor-corrector", "steps": 100}, 0.03),
    ({"sampler": "annealed-langevin", "steps": 100, "corrections": 10}, 0.05),
]


@pytest.mark.parametrize(("options", "tolerance"), SAMPLERS)
def test_every_sampler_draws_the_data(options, tolerance):
    with torch.no_grad():
        assert_gaussian(ideal().sample(IndexedNoise(0, 6000), **options), tolerance)


@pytest.mark.parametrize("options", [{}, {"probes": 2}])
def test_the_density_is_that_of_the_data_with_the_last_noise(options):
    x = MEAN + STD * IndexedNoise(3, 200).normal(2)
    model = ideal(sigma_max=80.0)
    got = model.log_prob(x, **options)
    assert torch.allclose(got, normal_log_prob(x, std=math.hypot(STD, model.config.sigma_min)), atol=3e-2)


def test_the_score_is_that_of_noised_data():
    model = ideal()
    x, sigma = IndexedNoise(0, 6).normal(2), torch.tensor([0.01, 0.1, 0.5, 1.0, 5.0, 20.0])
    want = -(x - MEAN) / (STD**2 + sigma[:, None].square())
    assert torch.allclose(model.gradient_field(x, sigma), want, rtol=1e-2, atol=1e-4)


@pytest.mark.parametrize("levels", ["log-uniform", "log-normal"])
def test_the_denoiser_is_the_one_that_matching_looks_for(levels):
    model = ideal()
    phase = MatchDenoiser(model, MatchDenoiser.Options(levels=levels))
    x = MEAN + STD * IndexedNoise(5, 20_000).normal(2)
    best = phase.losses(x, StreamNoise(0, len(x))).mean()
    assert float(best) < 2.1, "the network's target has unit variance at every level"
    for move in (0.3, -0.3):
        hook = model.network.register_forward_hook(lambda m, i, out, move=move: out + move)
        assert phase.losses(x, StreamNoise(0, len(x))).mean() > best + 0.5 * move**2
        hook.remove()


def test_levels_go_from_the_highest_to_the_lowest():
    model = VESDE({"sigma_min": 0.02, "sigma_max": 30.0})
    for rho in (7.0, math.inf):
        levels = model.levels(10, torch.zeros(1, dtype=torch.float64), rho)
        assert len(levels) == 11 and levels[0].item() == pytest.approx(30) and levels[-1].item() == pytest.approx(0.02)
        assert (levels.diff() < 0).all()
    ratios = levels[1:] / levels[:-1]
    assert torch.allclose(ratios, ratios[:1].expand(10)), "geometric"


def test_classes_and_guidance():
    torch.manual_seed(0)
    model = VESDE({**VESDE.example, "classes": 3}).eval()
    x, sigma, labels = IndexedNoise(0, 4).normal(2), torch.tensor(0.7), torch.tensor([0, 1, 2, 2])
    with torch.no_grad():
        none, own = model.denoise(x, sigma), model.denoise(x, sigma, labels)
        assert torch.equal(model.denoise(x, sigma, labels, 0.0), none)
        assert torch.allclose(model.denoise(x, sigma, labels, 3.0), none + 3 * (own - none), atol=1e-5)
        for sampler in ("ode", "predictor-corrector", "annealed-langevin"):
            a, b = (model.sample(IndexedNoise(0, 4), sampler=sampler, steps=5, label=k) for k in (0, 1))
            assert not torch.allclose(a, b), sampler
    with pytest.raises(DgmError, match="no class 3"):
        model.log_prob(x, label=3)


@pytest.mark.parametrize(
    "options", [{"steps": 0}, {"corrections": 0}, {"snr": 0.0}, {"snr": 2.0}, {"step_size": 5.0}, {"sampler": "none"}]
)
def test_options_that_are_refused(options):
    (key,) = options
    with pytest.raises(DgmError, match=key):
        VESDE(VESDE.example).sample(IndexedNoise(0, 2), **options)


# --- the probability flow of a ddpm ----------------------------------------------------------------


class Noise(torch.nn.Module):
    """E[eps | x_t], or what the model predicts of it, for data N(MEAN, STD^2 I)."""

    def __init__(self, model):
        super().__init__()
        self.coefficients, self.kind, self.steps = (
            model.coefficients,
            model.config.prediction,
            model.config.schedule.steps,
        )

    def forward(self, x, t):
        a, s = self.coefficients((t * self.steps / 1000).round().long(), x)
        eps = s * (x - a * MEAN) / (a**2 * STD**2 + s**2)
        x0 = (x - s * eps) / a
        return {"eps": eps, "x0": x0, "v": a * eps - s * x0}[self.kind]


def flow(prediction: str, **schedule) -> ProbabilityFlow:
    base = DDPM({"prediction": prediction, "schedule": {"steps": 400, **schedule}})
    base.network = Noise(base)
    return ProbabilityFlow(base=base).eval()


@pytest.mark.parametrize("prediction", ["eps", "x0", "v"])
@pytest.mark.parametrize("schedule", ["vp", "cosine"])
def test_the_flow_of_a_ddpm_draws_and_measures_the_data(prediction, schedule):
    model = flow(prediction, name=schedule)
    with torch.no_grad():
        assert_gaussian(model.sample(IndexedNoise(0, 6000), steps=100), 0.02)
        x = MEAN + STD * IndexedNoise(3, 100).normal(2)
        assert torch.allclose(model.encode(model.decode(x)), x, atol=1e-3)
        a, s = (float(c) for c in model.parts["base"].coefficients(torch.tensor(0), torch.ones(1)))
        want = normal_log_prob(x, a * MEAN, math.hypot(a * STD, s))
        assert torch.allclose(model.log_prob(x), want, atol=2e-2)
        assert torch.allclose(model.log_prob(x, steps=100, probes=1), want, atol=5e-2)


def test_what_the_flow_of_a_ddpm_refuses():
    with pytest.raises(DgmError, match="no ddpm"):
        ProbabilityFlow(base=VESDE(VESDE.example))
    with pytest.raises(DgmError, match="steps must be from 1 to 399"):
        flow("v", name="vp").sample(IndexedNoise(0, 2), steps=400)
    with pytest.raises(DgmError, match="steps"):
        flow("v", name="vp").sample(IndexedNoise(0, 2), steps=0)
