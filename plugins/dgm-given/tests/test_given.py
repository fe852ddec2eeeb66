"""Models under observations, against posteriors that are known."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch
from dgm_given import Observation, given
from dgm_given.chains import effective_size, hmc, independence, mala, pcn, populate, r_hat, walk
from dgm_given.chains.population import _forgetting
from dgm_given.chains.state import State
from dgm_given.metrics import interval_half, mixing

import dgmcore
from dgmcore import Config, IndexedNoise, Model
from dgmcore.errors import DgmError, NotFiniteError, UsageError
from dgmcore.testing import parametrize_with_checks

QUICK = {"particles": 512, "steps": 12}


@parametrize_with_checks(["given"])
def test_conformance(check, device):
    check(device)


class Linear(Model):
    """x = B z + b with standard normal z: posteriors under linear observations are Gaussians."""

    class Config(Config):
        dim: int = 2

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        d = self.config.dim
        self.event_shape, self.noise_shapes = (d,), {"z": (d,)}
        generator = torch.Generator().manual_seed(1)
        self.register_buffer("matrix", torch.randn(d, d, generator=generator) / d**0.5 + torch.eye(d))
        self.register_buffer("shift", torch.arange(float(d)) / d)

    noise_shapes: dict

    def push(self, eps):
        return (eps["z"][:, None, :] * self.matrix).sum(2) + self.shift

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))

    def posterior(self, row, y, sigma):
        """Returns the mean and the covariance of x given row . x = y."""
        prior = self.matrix @ self.matrix.T
        gain = prior @ row / (row @ prior @ row + sigma**2)
        return self.shift + gain * (y - row @ self.shift), prior - torch.outer(gain, row @ prior)


class Wells:
    """N(eps; 0, I) times exp(-phi) with phi = |A eps - y|^2 / 2 s^2: a Gaussian whose moments are known."""

    a, y, s = torch.tensor([[1.0, 2.0], [0.0, 1.0]]), torch.tensor([1.5, 0.2]), 0.3

    def evaluate(self, eps, slopes=False):
        r = (eps @ self.a.T - self.y) / self.s
        return State(eps, r.square().sum(1) / 2, (r @ self.a) / self.s if slopes else None, eps)

    @property
    def moments(self):
        covariance = torch.linalg.inv(torch.eye(2) + self.a.T @ self.a / self.s**2)
        return covariance @ (self.a.T @ self.y) / self.s**2, covariance


def crowd_of(target, n=1024):
    return populate(target, IndexedNoise(0, 4 * n).normal(2), IndexedNoise(1, n))


KERNELS = {
    "pcn": lambda t, s, n, p: pcn(t, s, n, 0.4),
    "mala": lambda t, s, n, p: mala(t, s, n, 0.05),
    "hmc": lambda t, s, n, p: hmc(t, s, n, 0.15, leapfrogs=4),
    "scaled mala": lambda t, s, n, p: mala(t, s, n, 0.4, torch.tensor([0.3, 0.1])),
    "scaled hmc": lambda t, s, n, p: hmc(t, s, n, 0.5, torch.tensor([0.3, 0.1]), leapfrogs=3),
    "independence": lambda t, s, n, p: independence(t, s, n, p),
    "walk": lambda t, s, n, p: walk(t, s, n, p),
}


@pytest.mark.parametrize("name", KERNELS)
def test_kernels_keep_the_density_and_reach_it(name):
    """From exact draws the moments stay; from one point far away they are reached."""
    target, n = Wells(), 1500
    mean, covariance = target.moments
    proposal = crowd_of(target, 256).proposal
    exact = IndexedNoise(0, n).normal(2) @ torch.linalg.cholesky(covariance).T + mean
    for start, steps in ((exact, 8), (mean + torch.tensor([0.3, -0.3]).expand(n, 2), 60)):
        state, noise = target.evaluate(start, True), IndexedNoise(5, n)
        for _ in range(steps):
            state, probability = KERNELS[name](target, state, noise, proposal)
        assert (probability >= 0).all() and (probability <= 1).all() and probability.mean() > 0.2
        near = 0.1 if name == "walk" and steps == 60 else 0.04  # it goes from neighbour to neighbour
        assert (state.eps.mean(0) - mean).abs().max() < near
        assert (state.eps.T.cov() - covariance).abs().max() < near


def test_population_knows_the_evidence_and_the_posterior():
    target = Wells()
    mean, _ = target.moments
    crowd = crowd_of(target)
    spread = target.a @ target.a.T + target.s**2 * torch.eye(2)
    exact = -target.y @ torch.linalg.solve(spread, target.y) / 2 - torch.logdet(spread / target.s**2) / 2
    assert crowd.evidence == pytest.approx(float(exact), abs=0.2)
    assert (crowd.eps.mean(0) - mean).abs().max() < 0.05
    assert 1 <= crowd.tau < 3
    assert _forgetting(torch.full((8,), 1 / 8)) == pytest.approx(1.0), "proposals of the posterior itself"
    assert _forgetting(torch.tensor([0.25, 0.75])) == pytest.approx(0.25 * 1 + 0.75 * (2 / (2 / 3) - 1)), "1 of 3 times"


def test_r_hat_and_effective_size_of_known_chains():
    """An AR(1) chain of coefficient a has n (1 - a) / (1 + a) effective draws."""
    generator = torch.Generator().manual_seed(0)
    for a in (0.0, 0.5, 0.9):
        x = torch.randn(8, generator=generator)
        draws = []
        for _ in range(2000):
            x = a * x + (1 - a * a) ** 0.5 * torch.randn(8, generator=generator)
            draws.append(x)
        chains = torch.stack(draws, 1)
        assert effective_size(chains) == pytest.approx(16_000 * (1 - a) / (1 + a), rel=0.15)
        assert r_hat(chains) < 1.01
    assert r_hat(chains + 3.0 * (torch.arange(8) > 3)[:, None]) > 1.3, "two groups apart"
    assert r_hat(chains * torch.linspace(1, 4, 8)[:, None]) > 1.1, "of other widths: the folded draws tell"
    assert r_hat(torch.ones(4, 20)) == 1.0 and r_hat(torch.arange(4.0)[:, None].expand(4, 20)) == float("inf")


def test_figures_of_chains_have_intervals_that_hold_them():
    """Of 60 times 32 AR(1) chains: what they give on average is in 95 % of the intervals."""
    held, found = {"r-hat": 0, "ess": 0}, []
    for seed in range(60):
        noise = torch.randn(21, 32, 1, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
        draws = [noise[0]]
        for one in noise[1:]:
            draws.append(0.6 * draws[-1] + 0.8 * one)
        model = SimpleNamespace(chain=None, device="cpu", dtype=torch.float64, noise_version=1)
        model.trajectory = lambda noise, draws=draws: draws
        run = SimpleNamespace(model=model, n=32, seed=0, sampling={}, record=lambda name, value, **f: (name, value, f))
        found.append({name: (value, fields["interval"]) for name, value, fields in mixing(run)})
    for name in held:
        average = sum(one[name][0] for one in found) / len(found)
        held[name] = sum(one[name][1][0] < average < one[name][1][1] for one in found)
    assert all(54 <= count <= 60 for count in held.values()), held
    assert interval_half(float, torch.ones(1, 4)) is None, "of one chain nothing can be said"
    assert interval_half(lambda x: float("inf"), torch.ones(9, 4)) is None


@pytest.mark.parametrize("sampler", ["population", "mala", "hmc", "pcn"])
def test_posterior_of_a_linear_model_is_the_known_gaussian(sampler):
    model, row = Linear().eval(), torch.tensor([1.0, -0.5])
    seen = Observation([0.8], lambda x: (x * row).sum(1, keepdim=True), sigma=0.2)
    options = QUICK if sampler == "population" else {"warmup": 60, "steps": 30}
    asked = given(model, seen)
    x = dgmcore.sample(asked, 1000, seed=3, sampler=sampler, **options)
    mean, covariance = model.posterior(row, 0.8, 0.2)
    assert (x.mean(0) - mean).abs().max() < 0.12
    assert (x.T.cov() - covariance).abs().max() < 0.2
    report = asked.report()
    assert report["chains"] == 1000 and 0 < report["acceptance"] <= 1 and report["sampler"] == sampler


def test_samples_are_the_same_bits_in_any_batch():
    asked = given(Linear().eval(), "x0=0.5")
    for options in (QUICK, {"sampler": "hmc", "warmup": 10, "steps": 5}):
        whole = dgmcore.sample(asked, 9, **options)
        parts = dgmcore.sample(asked, 9, batch_size=2, **options)
        assert torch.equal(whole, parts)
        assert torch.equal(dgmcore.sample(given(Linear().eval(), "x0=0.5"), 5, **options), whole[:5])


def test_what_is_asked_draws_by_its_own_version_of_the_noise():
    drawn = []
    for version in (1, 2):
        model = Linear().eval()
        model.noise_version = version
        asked = given(model, "x0=0.5")
        assert asked.noise_version == version
        drawn.append([dgmcore.sample(asked, 5, **o) for o in (QUICK, {"sampler": "hmc", "warmup": 10, "steps": 5})])
    assert not any(torch.equal(*pair) for pair in zip(*drawn, strict=True))


class Bad(Model):
    def score(self, x):
        return x.sum(1) * torch.nan


class Slope(Model):
    def score(self, x):
        return x[:, 0]


def test_several_critics_multiply_and_what_is_tilted_is_tilted_again():
    """exp(w x0) moves a Gaussian's mean by w times its covariance's column."""
    from dgmcore.compose import tilt

    model = Linear().eval()
    prior = model.matrix @ model.matrix.T
    asked = [
        given(model, tilt=[(Slope(), 0.25), (Slope(), 0.5)]),
        tilt(tilt(model, Slope(), 0.25), Slope(), 0.5),
        given(given(model, tilt=[(Slope(), 0.25)]), tilt=[(Slope(), 0.5)]),
    ]
    for one in asked:
        x = dgmcore.sample(one, 1000, **QUICK)
        assert (x.mean(0) - model.shift - 0.75 * prior[:, 0]).abs().max() < 0.15
    assert torch.equal(x, dgmcore.sample(asked[0], 1000, **QUICK))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x7=1", "have 2 coordinates"),
        ("x0=1,x0=2", "twice"),
        ("x0=1e30", "far from all"),
        ("x0=1,y", "no coordinate"),
        ("label=3", "no classifier is known"),
        ("nothing", "says nothing"),
        ("no.png", "no images"),
        ("no.npy", "can't be read"),
    ],
)
def test_texts_that_say_nothing_are_refused(text, says):
    with pytest.raises(DgmError, match=says):
        given(Linear().eval(), text)


def test_what_can_not_be_asked_is_refused():
    model = Linear().eval()
    with pytest.raises(UsageError, match="sigma"):
        Observation([1.0], sigma=0.0)
    with pytest.raises(UsageError, match="hides everything"):
        Observation(torch.zeros(2), mask=torch.zeros(2, dtype=torch.bool))
    with pytest.raises(UsageError, match="hides nothing"):
        Observation(torch.zeros(2), mask=torch.ones(2, dtype=torch.bool))
    with pytest.raises(UsageError, match="shape"):
        given(model, Observation(torch.zeros(3)))
    with pytest.raises(UsageError, match="images"):
        given(model, Observation(torch.zeros(3), "downsample:4"))
    with pytest.raises(UsageError, match="no operator"):
        given(model, Observation(torch.zeros(3), "downsamble:4"))
    with pytest.raises(UsageError, match="once for each"):
        given(model, "x0=1", "x1=1", options={"sigma": [1.0, 2.0, 3.0]})
    with pytest.raises(UsageError, match="takes no sgima"):
        dgmcore.given(model, "x0=1", sgima=0.1)
    with pytest.raises(NotFiniteError, match="before the first step"):
        dgmcore.sample(given(model, tilt=[(Bad(), 1.0)]), 4, **QUICK)
    with pytest.raises(UsageError, match="no critic"):
        given(model, tilt=[(model, 1.0)])
