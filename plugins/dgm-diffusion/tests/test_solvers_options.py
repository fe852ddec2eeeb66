"""What each option of the samplers of SDEs does."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from closed_forms import MEAN, STD, Denoiser, Says, assert_gaussian
from dgm_diffusion.odes import divergence, sign_probes, solve
from dgm_diffusion.scoresde import ScoreSDE
from dgm_diffusion.vesde import VESDE
from torch import nn

from dgmcore import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise

N = 2000
X = StreamNoise(7, N, scope="data").normal(2)
SMALL = {"network": {"kind": "mlp", "width": 8, "depth": 1}}


# --- samplers of SDEs --------------------------------------------------------------------------------


def known_sde():
    model = ScoreSDE(SMALL).eval()
    model.network = type("Net", (nn.Module,), {})()

    def forward(x, t, labels=None):
        a, s = model.marginal(t / 1000, x)
        return s * (x - a * MEAN) / (a**2 * STD**2 + s**2)

    model.network.forward = forward
    return model


def known_ve():
    model = VESDE(SMALL).eval()
    model.network = Denoiser(model)
    return model


@pytest.mark.parametrize("sampler", ["ode", "euler-maruyama", "predictor-corrector"])
def test_solvers_take_their_steps(sampler):
    model = known_sde()
    assert len(list(model.trajectory(IndexedNoise(0, 2), sampler=sampler, steps=7))) == 8
    assert len(list(model.trajectory(IndexedNoise(0, 2), sampler=sampler))) == 41


def test_the_flow_is_solved_as_asked_and_rk4_is_the_default():
    model, noise = known_sde(), lambda: IndexedNoise(0, 50, dtype=torch.float64)
    exact = model.sample(noise(), steps=400)
    errors = {
        s: float((model.sample(noise(), steps=12, solver=s) - exact).abs().max()) for s in ("euler", "heun", "rk4")
    }
    assert errors["rk4"] < errors["heun"] < errors["euler"]
    assert torch.equal(model.sample(noise(), steps=12), model.sample(noise(), steps=12, solver="rk4"))
    x = STD * X[:20].double() + MEAN
    assert torch.equal(model.log_prob(x), model.log_prob(x, steps=40, solver="rk4"))
    assert not torch.equal(model.log_prob(x), model.log_prob(x, steps=40, solver="euler"))


def test_the_correctors_step_is_by_its_signal_to_noise_ratio():
    for model, sampler in ((known_ve(), "predictor-corrector"), (known_sde(), "predictor-corrector")):
        rough = [model.sample(IndexedNoise(0, N), sampler=sampler, snr=s, steps=40) for s in (0.01, 0.16, 0.5)]
        default = model.sample(IndexedNoise(0, N), sampler=sampler, steps=40)
        assert torch.equal(default, rough[1]) and not torch.allclose(rough[0], rough[2], atol=0.05)
        assert_gaussian(default, 0.06)


@pytest.mark.parametrize(("corrections", "passes"), [(None, 1 + 2 * 5), (3, 1 + 4 * 5)])
def test_there_are_so_many_corrections(corrections, passes):
    model, said = VESDE(SMALL).eval(), {} if corrections is None else {"corrections": corrections}
    model.network = Says(0.0)
    model.sample(IndexedNoise(0, 2), sampler="predictor-corrector", steps=5, **said)
    assert len(model.network.seen) == passes
    model.network = Says(0.0)
    model.sample(IndexedNoise(0, 2), sampler="annealed-langevin", steps=5, **said)
    assert len(model.network.seen) == 1 + 6 * (corrections or 1), "at each level, and a denoising"
    model.network = Says(0.0)
    model.sample(IndexedNoise(0, 2), sampler="reverse-diffusion", steps=5, **said)
    assert len(model.network.seen) == 1 + 5, "which has none"


@pytest.mark.parametrize("size", [None, 0.05, 0.8])
def test_annealed_steps_are_in_units_of_the_levels_variance(size):
    model = VESDE({**SMALL, "sigma_min": 0.5, "sigma_max": 2.0})
    model.denoise = lambda x, *rest: x  # no score: a step is its noise
    states = list(
        model.trajectory(
            IndexedNoise(0, N), sampler="annealed-langevin", steps=1, **({} if size is None else {"step_size": size})
        )
    )
    spread = [float((b - a).std()) for a, b in pairwise(states[:3])]
    assert spread == pytest.approx([2.0 * math.sqrt(size or 0.2), 0.5 * math.sqrt(size or 0.2)], rel=0.05)


def test_a_velocity_is_integrated_to_the_order_of_its_solver():
    x, times = torch.ones(1, 1, dtype=torch.float64), torch.linspace(0, 1, 11, dtype=torch.float64)
    factor = {"euler": 1 - 0.1, "heun": 1 - 0.1 + 0.005, "midpoint": 1 - 0.1 + 0.005, "rk4": 0.9048375}
    for solver, step in factor.items():
        *_, last = solve(lambda x, t: -x, x, times, solver)
        assert float(last) == pytest.approx(step**10, rel=1e-6), solver
    *_, last = solve(lambda x, t: -x, x, times, "dopri5", 1e-9)
    assert float(last) == pytest.approx(math.exp(-1), rel=1e-8)
    assert len(list(solve(lambda x, t: x, x, times))) == 11


@pytest.mark.parametrize("probes", [0, 1, 400])
def test_divergences_are_traces(probes):
    matrix = torch.tensor([[1.0, 5.0], [-2.0, 3.0]])
    y = X[:100].clone().requires_grad_()
    vectors = sign_probes(IndexedNoise(0, 100), (2,), probes)
    assert len(vectors) == probes and all(bool((v.abs() == 1).all()) for v in vectors)
    trace = divergence(y @ matrix.T, y, vectors)
    assert torch.allclose(trace, torch.full((100,), 4.0), atol={0: 1e-5, 1: 3.1, 400: 0.8}[probes])
    assert abs(float(trace.mean()) - 4) < {0: 1e-5, 1: 1.0, 400: 0.1}[probes]
