"""Schroedinger bridges between Gaussians, where the bridge is known, and Sinkhorn's algorithm."""

from __future__ import annotations

import math
from collections import deque

import pytest
import torch
from closed_forms import BridgeDrift, assert_gaussian, covariance, normal_log_prob
from dgm_diffusion.schroedinger.matching import BridgeMatching
from dgm_diffusion.schroedinger.models import DataBridge, GaussianBridge
from dgm_diffusion.schroedinger.phases import ProportionalFitting
from dgm_diffusion.schroedinger.sinkhorn import sinkhorn
from scipy.optimize import linear_sum_assignment

from dgmcore.entry import Data, Entry
from dgmcore.errors import DgmError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks

A, B, SIGMA = 0.6, 1.2, 0.8  # deviations of the data and the prior, and of the reference


@parametrize_with_checks(["schroedinger", "schroedinger-bridge"])
def test_conformance(check):
    check()


def ideal(steps: int = 100) -> GaussianBridge:
    model = GaussianBridge({"steps": steps, "prior_std": B, "sigma": SIGMA, "ratio": 20.0}).eval()
    model.onward, model.backward = (BridgeDrift(model, way, A) for way in ("to-prior", "to-data"))
    return model


def last(states):
    return deque(states, maxlen=1).pop()


def data(n: int, seed: int = 1):
    return A * IndexedNoise(seed, n).normal(2)


def test_chains_join_the_ends_at_the_cost_of_the_bridge():
    model, noise = ideal(), IndexedNoise(0, 20_000)
    x = data(20_000)
    cost = 2 * (A**2 + B**2 - 2 * covariance(A, B, SIGMA))
    y = last(model.transport(x, noise.child("onward"), "to-prior"))
    assert_gaussian(y, 0.03, 0.0, B)
    assert float((x - y).square().sum(1).mean()) == pytest.approx(cost, rel=0.02)
    y = model.prior_points(noise, "test")
    x = last(model.transport(y, noise.child("back"), "to-data"))
    assert_gaussian(x, 0.03, 0.0, A)
    assert float((x - y).square().sum(1).mean()) == pytest.approx(cost, rel=0.02)


def test_the_flow_has_the_marginals_and_their_density():
    model = ideal()
    z = IndexedNoise(0, 6000).normal(2)
    assert_gaussian(model.decode(z), 0.02, 0.0, A)
    assert_gaussian(B * model.encode(data(6000)), 0.02, 0.0, B)
    assert torch.allclose(model.encode(model.decode(z)), z, atol=1e-3)
    x = data(100)
    assert torch.allclose(model.log_prob(x), normal_log_prob(x, 0.0, A), atol=0.05)
    assert torch.allclose(model.log_prob(x, probes=1), normal_log_prob(x, 0.0, A), atol=0.05)


@pytest.mark.parametrize("target", ["maximum-likelihood", "mean-matching"])
@pytest.mark.parametrize(("draws", "back"), [("to-prior", "to-data"), ("to-data", "to-prior")])
def test_each_direction_of_the_bridge_is_what_the_other_teaches(target, draws, back):
    """So the bridge is a fixed point of iterative proportional fitting."""
    model = ideal(steps=40)
    phase = ProportionalFitting(model, ProportionalFitting.Options(target=target))
    x = data(4000) if draws == "to-prior" else model.prior_points(IndexedNoise(1, 4000), "train")
    found = phase.chains(draws, x, StreamNoise(0, 4000))
    ends = [there for _, there in model.route(draws)]
    for k in (5, 20, 35):
        seen, target = (found[key][:, ends.index(k)] for key in ("inputs", "targets"))
        own = model.drift(back, seen, torch.tensor(k))
        noise = SIGMA / math.sqrt(model.gammas[k] * len(own))
        slope = lambda y, seen=seen: float((y * seen).sum() / seen.square().sum())  # noqa: E731
        assert slope(target) == pytest.approx(slope(own), abs=4 * noise / A + 0.1)


class Step:
    """A step of training without the engine: Gaussian data, Adam, a rate of learning that stays."""

    def __init__(self, phase, size: int):
        self.size, self.index = size, 0
        self.optimizers = {name: torch.optim.Adam(group, lr=5e-3) for name, group in phase.parameters().items()}

    def batch(self):
        return A * self.noise(self.size).child("data").normal(2)

    def noise(self, n):
        return StreamNoise(0, n, scope=f"step {self.index}")

    def optimizer(self, name):
        for group in self.optimizers[name].param_groups:
            group["lr"] = 5e-3
        return self.optimizers[name]

    def minimize(self, loss, name):
        self.optimizers[name].zero_grad()
        loss.backward()
        self.optimizers[name].step()


FITTING = (ProportionalFitting, {"first": 150, "half": 75}, 750, 256)
MATCHING = (BridgeMatching, {"each": 3, "reuse": 50}, 400, 512)


@pytest.mark.parametrize(("kind", "options", "steps", "size"), [FITTING, MATCHING])
def test_training_finds_the_bridge(kind, options, steps, size):
    torch.manual_seed(0)
    config = {"network": {"kind": "mlp", "width": 32, "depth": 1}, "steps": 8, "prior_std": B, "sigma": SIGMA}
    model = GaussianBridge({**config, "ratio": 10.0})
    phase = kind(model, kind.Options(**options))
    step = Step(phase, size)
    for step.index in range(steps):
        phase.step(step)
    x = data(8000)
    with torch.no_grad():
        y = last(model.transport(x, IndexedNoise(0, 8000), "to-prior"))
        back = last(
            model.transport(model.prior_points(IndexedNoise(3, 8000), "test"), IndexedNoise(4, 8000), "to-data")
        )
    assert_gaussian(y, 0.08, 0.0, B)
    assert_gaussian(back, 0.08, 0.0, A)
    cost = 2 * (A**2 + B**2 - 2 * covariance(A, B, SIGMA))
    assert float((x - y).square().sum(1).mean()) == pytest.approx(cost, rel=0.07)


def test_pairs_are_those_of_the_coupling_and_are_kept():
    model = GaussianBridge({**GaussianBridge.example, "sigma": 0.05})
    phase = BridgeMatching(model, BridgeMatching.Options(reuse=2))
    x = data(64)
    phase.kept = phase.coupled(x, x.flip(0) + 1)  # almost no noise: the nearest in order, which is x + 1
    start, end = phase.pairs(StreamNoise(0, 64))
    assert torch.equal(start, x) and float((end - x - 1).abs().mean()) < 0.1
    assert not torch.equal(end, phase.pairs(StreamNoise(1, 64))[1])
    other = BridgeMatching(model, phase.options)
    other.restore(phase.state())
    assert torch.equal(other.pairs(StreamNoise(0, 64))[1], end)


def test_an_untrained_bridge_is_the_reference():
    model = GaussianBridge(GaussianBridge.example).eval()
    x = torch.zeros(20_000, 2)
    assert_gaussian(last(model.transport(x, IndexedNoise(0, 20_000), "to-prior")), 0.02, 0.0, 1.0)
    assert float(model.gammas.sum()) == pytest.approx(1.0)


def test_half_iterations_take_turns():
    phase = ProportionalFitting(GaussianBridge(GaussianBridge.example), ProportionalFitting.Options(first=30, half=10))
    assert phase.place(0) == (0, 0, 30) and phase.place(29) == (0, 29, 30)
    assert phase.place(30) == (1, 0, 10) and phase.place(35) == (1, 5, 10) and phase.place(40) == (2, 0, 10)


def test_chains_are_kept_and_a_few_of_their_steps_are_learned_at_a_time():
    model = GaussianBridge(GaussianBridge.example)
    phase = ProportionalFitting(model, ProportionalFitting.Options(each=3, reuse=2))
    phase.kept = phase.chains("to-prior", data(8), StreamNoise(0, 8), reference=True)
    before = model.factors.clone()
    assert phase.losses("to-prior", StreamNoise(1, 8)).shape == (24,)
    assert (model.factors[0] != before[0]).any() and torch.equal(model.factors[1], before[1])
    other = ProportionalFitting(model, phase.options)
    other.restore(phase.state())
    assert torch.equal(other.kept["inputs"], phase.kept["inputs"])


def entry(dataset: str) -> Entry:
    return Entry(schema=1, name="x", architecture="x", license="MIT", data=Data(dataset=dataset, event_shape=(2,)))


def test_both_directions_and_the_round_trip_are_generators():
    torch.manual_seed(0)
    model = DataBridge({**DataBridge.example, "prior": {"dataset": "moons"}, "sigma": 0.1}).eval()
    model.entry = entry("swissroll")
    noise = lambda: IndexedNoise(0, 200)  # noqa: E731
    to_data = list(model.trajectory(noise()))
    to_prior = list(model.trajectory(noise(), direction="to-prior"))
    assert len(to_data) == len(to_prior) == 5
    # untrained, so a chain stays where it starts: moons are small, the swiss roll is large
    assert to_data[-1].norm(dim=1).mean() < 1.6 < to_prior[-1].norm(dim=1).mean()
    trip = list(model.trajectory(noise(), direction="round-trip"))
    assert len(trip) == 10 and torch.equal(trip[0], to_prior[0]) and torch.equal(trip[4], trip[5])
    smooth = [model.sample(IndexedNoise(0, 5), sampler="flow") for _ in range(2)]
    assert torch.equal(*smooth)
    parts = [model.sample(IndexedNoise(0, n, start), direction="to-prior") for start, n in ((0, 2), (2, 3))]
    assert torch.allclose(torch.cat(parts), model.sample(IndexedNoise(0, 5), direction="to-prior"), atol=1e-5)


def test_what_bridges_refuse():
    with pytest.raises(DgmError, match="no entry"):
        GaussianBridge(GaussianBridge.example).sample(IndexedNoise(0, 2), direction="to-prior")
    with pytest.raises(DgmError, match="direction"):
        GaussianBridge(GaussianBridge.example).sample(IndexedNoise(0, 2), direction="up")
    with pytest.raises(DgmError, match="steps"):
        GaussianBridge({"steps": 0})
    with pytest.raises(DgmError, match="nowhere"):
        DataBridge({**DataBridge.example, "prior": {"dataset": "nowhere"}}).sample(IndexedNoise(0, 2))
    with pytest.raises(DgmError, match="shape"):
        DataBridge({**DataBridge.example, "event_shape": [3], "prior": {"dataset": "moons"}}).sample(IndexedNoise(0, 2))


# --- Sinkhorn's algorithm --------------------------------------------------------------------------


def test_sinkhorn_has_uniform_marginals_and_is_the_coupling_of_gaussians():
    x, y = data(1500), B * IndexedNoise(9, 1500).normal(2)
    found = sinkhorn(x, y, 2 * SIGMA**2)
    assert found.error < 1e-5
    assert torch.allclose(found.plan.sum(0), torch.full((1500,), 1 / 1500, dtype=torch.float64), atol=1e-8)
    assert found.cost == pytest.approx(2 * (A**2 + B**2 - 2 * covariance(A, B, SIGMA)), rel=0.04)


def test_sinkhorn_with_little_regularisation_is_the_assignment():
    x, y = data(8), IndexedNoise(9, 8).normal(2)
    cost = torch.cdist(x, y).square()
    rows, columns = linear_sum_assignment(cost.numpy())
    found = sinkhorn(x, y, 0.005, iterations=50_000)
    assert found.cost == pytest.approx(float(cost[rows, columns].mean()), rel=0.01)
    assert found.plan.argmax(1).tolist() == columns.tolist()


def test_sinkhorn_is_that_of_pot():
    ot = pytest.importorskip("ot")
    x, y = data(30), IndexedNoise(9, 40).normal(2)
    found = sinkhorn(x, y, 0.3, tolerance=1e-10)
    cost = torch.cdist(x, y).square().double().numpy()
    theirs = ot.sinkhorn([], [], cost, 0.3, stopThr=1e-12)
    assert torch.allclose(found.plan, torch.from_numpy(theirs), atol=1e-7)


def test_sinkhorn_refuses_no_regularisation():
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(DgmError, match="must be positive"):
            sinkhorn(torch.zeros(2, 1), torch.zeros(2, 1), wrong)
