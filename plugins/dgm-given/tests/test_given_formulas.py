"""Posteriors, optima, corrections and guided steps, where the right value is known in closed form."""

from __future__ import annotations

import math
from collections import deque

import pytest
import torch
from dgm_given import Observation, given, optimum, samplers
from dgm_given import diffusion as guided_diffusion
from dgm_given.chains.kernels import mala, pcn
from dgm_given.chains.local import DiagonalGaussian
from dgm_given.chains.population import _forgetting, _order, _resampled, populate
from dgm_given.chains.posterior import Posterior
from dgm_given.correct import corrected, heat_of
from dgm_given.observation import Nothing
from dgm_given.optimum import descent, invert
from dgm_given.parsing import observations
from dgm_given.samplers import posterior_of
from PIL import Image

import dgmcore
from dgmcore import IndexedNoise, Model
from dgmcore.entry import Data, Entry


@pytest.mark.parametrize("name", ["given", "given-density"])
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


class Scaled(Model):
    """x = 2 z + 1 with standard normal z."""

    noise_shapes: dict

    def __init__(self, config=None, shape=(2,), **parts):
        super().__init__(config, **parts)
        self.event_shape, self.noise_shapes = shape, {"z": shape}

    def push(self, eps):
        return 2 * eps["z"] + 1.0

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))


def asked(value=3.0, sigma=0.5):
    return given(Scaled().eval(), Observation([value], lambda x: x[:, :1], sigma=sigma))


def best(value=3.0, sigma=0.5):
    """The mean of the posterior of z_1: of 2 z + 1 = value + sigma n."""
    return 2 * (value - 1) / (4 + sigma**2)


# --- optima ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_the_optimum_of_a_gaussian_is_its_mean(sigma):
    target = posterior_of(asked(sigma=sigma))
    eps = target.draw(IndexedNoise(0, 20))
    last = deque(descent(target, target.evaluate(eps, slopes=True), 400, 0.1), maxlen=1).pop()
    assert torch.allclose(last.eps[:, 0], torch.tensor(best(sigma=sigma)), atol=2e-3)
    assert torch.allclose(last.eps[:, 1], torch.zeros(20), atol=2e-3)


def test_the_first_step_of_a_descent_is_its_rate_in_every_coordinate():
    """Without bias towards the zeros that the moments start with: the definition of Adam."""
    target = posterior_of(asked())
    for rate in (0.1, 0.02):
        start = target.evaluate(target.draw(IndexedNoise(0, 50)), slopes=True)
        first = next(descent(target, start, 50, rate))
        assert torch.allclose((first.eps - start.eps).abs(), torch.tensor(rate), rtol=1e-3)


def test_descents_are_those_of_adam():
    target, steps, rate = posterior_of(asked(sigma=2.0)), 12, 0.1
    start = target.evaluate(target.draw(IndexedNoise(0, 4)), slopes=True)
    ours = [s.eps for s in descent(target, start, steps, rate)]
    eps = torch.nn.Parameter(start.eps.clone())
    adam = torch.optim.Adam([eps], betas=(0.9, 0.99), eps=1e-8)
    heats = (2 / start.phi.abs().clamp(min=1.0)).clamp(max=1.0)
    for k in range(steps):
        adam.param_groups[0]["lr"] = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
        state = target.evaluate(eps.detach(), slopes=True)
        heat = heats ** max(0.0, 1 - 2 * (k + 1) / steps)
        eps.grad = eps.detach() + heat[:, None] * state.slope
        adam.step()
        assert torch.allclose(eps, ours[k], atol=1e-4), k


def test_an_optimum_takes_200_steps_of_a_tenth_where_nobody_says(monkeypatch):
    seen = []
    monkeypatch.setattr(samplers, "descent", lambda t, s, steps, rate: seen.append((steps, rate)) or iter([s]))
    for options in ({}, {"steps": 7, "step_size": 0.3}):
        deque(asked().trajectory(IndexedNoise(0, 2), sampler="optimum", **options), maxlen=0)
    assert seen == [(200, 0.1), (7, 0.3)]


@pytest.mark.parametrize(
    ("limits", "sigma", "used"), [(None, None, 0.05), ((0, 255), None, 6.375), ((-1, 1), 0.3, 0.3)]
)
def test_inversions_are_within_a_fortieth_of_the_range(monkeypatch, limits, sigma, used):
    model, seen = Scaled().eval(), []
    if limits is not None:
        data = Data(dataset="x", event_shape=(2,), range=limits)
        model.entry = Entry(schema=1, name="x", architecture="x", license="none", data=data)

    def observed(y, *, sigma):
        seen.append(sigma)
        return Observation(y, sigma=sigma)

    monkeypatch.setattr(optimum, "Observation", observed)
    x = torch.tensor([[3.0, -1.0], [1.0, 2.0]])
    found = invert(model, x, **({} if sigma is None else {"sigma": sigma}))
    assert seen == [pytest.approx(used)] * 2
    shrunk = 1 + (x - 1) * 4 / (4 + used**2)
    assert torch.allclose(found, shrunk, atol=0.02)
    assert torch.equal(invert(model, x[:0]), x[:0]) and torch.equal(invert(model, x, seed=0), invert(model, x))


# --- populations -------------------------------------------------------------------------------------


def test_resampling_is_systematic():
    weights = torch.tensor([0.5, 0.25, 0.25, 0.0], dtype=torch.float64)
    assert _resampled(weights, 0.5, 4).tolist() == [0, 0, 1, 2]
    assert torch.bincount(_resampled(weights, 0.3, 1000), minlength=4).tolist() == [500, 250, 250, 0]


def test_the_time_to_forget_is_that_of_independence_metropolis():
    assert _forgetting(torch.full((10,), 0.1, dtype=torch.float64)) == pytest.approx(1.0), "all are taken"
    w = torch.tensor([0.9, 0.1], dtype=torch.float64)
    a = [(1 + 1 / 9) / 2, 1.0]  # the mean probability to leave each
    assert _forgetting(w) == pytest.approx(0.9 * (2 / a[0] - 1) + 0.1 * 1)


def test_orders_are_permutations():
    order = _order(60, IndexedNoise(0, 20))
    assert order.sort().values.tolist() == list(range(60)) and order.tolist() != list(range(60))


@pytest.mark.parametrize(("said", "moves", "last"), [({}, 2, 4), ({"moves": 1, "last": 0}, 1, 0)])
def test_everyone_moves_so_often_at_each_stage(monkeypatch, said, moves, last):
    from dgm_given.chains import population

    heats, kernel = [], population.pcn
    monkeypatch.setattr(population, "pcn", lambda t, s, n, b, heat: heats.append(heat) or kernel(t, s, n, b, heat))
    target = posterior_of(asked(sigma=0.05))
    found = populate(
        target,
        target.draw(IndexedNoise(0, 1024)),
        IndexedNoise(1, 256),
        **({"last": 1, "moves": 1} if said == {"moves": 1, "last": 0} else said),
    )
    stages = [heats.count(h) for h in sorted(set(heats))]
    last = last or 1
    assert found.stages == len(stages) > 2 and stages[-1] == moves + last and set(stages[:-1]) == {moves}
    assert heats == sorted(heats) and heats[-1] == 1.0


def test_a_population_knows_the_evidence_and_its_draws():
    target = posterior_of(asked(sigma=0.5))
    found = populate(target, target.draw(IndexedNoise(0, 8192)), IndexedNoise(1, 2048))
    normal = torch.distributions.Normal(1.0, math.hypot(2.0, 0.5))
    # phi is minus the log-likelihood of what was seen, so its mean is the density of 3
    assert found.evidence == pytest.approx(float(normal.log_prob(torch.tensor(3.0))), abs=0.06)
    assert abs(float(found.eps[:, 0].mean()) - best()) < 0.02 and abs(float(found.eps[:, 0].var()) - 0.25 / 4.25) < 0.01
    assert 1 <= found.tau < 3
    many = posterior_of(given(Scaled(shape=(20,)).eval(), Observation([2.0], lambda x: x[:, :1], sigma=1.0)))
    wide = populate(many, many.draw(IndexedNoise(0, 2048)), IndexedNoise(1, 512))
    assert isinstance(wide.proposal, DiagonalGaussian) and wide.tau < 2, "the posterior is one"
    assert float(wide.proposal.mean[0]) == pytest.approx(0.4, abs=0.06)
    assert float(wide.proposal.std[0]) == pytest.approx(math.sqrt(1 / 5), abs=0.05)


def test_a_gaussian_proposal_has_its_density_and_walks_within_it():
    points = torch.tensor([[1.0, -0.1], [1.5, 0.3], [1.2, 0.7]])
    proposal = DiagonalGaussian(points, prior=0.2, keep=0.6)
    normal = torch.distributions.Normal(points.mean(0), points.std(0))
    x = torch.tensor([[1.1, 0.0], [-2.0, 1.0]])
    standard = torch.distributions.Normal(0.0, 1.0)
    want = 0.8 * normal.log_prob(x).sum(1).exp() + 0.2 * standard.log_prob(x).sum(1).exp()
    assert torch.allclose(proposal.log_density(x).exp() / (2 * math.pi), want.double(), rtol=1e-4)
    noise = IndexedNoise(0, 40_000)
    at = points.mean(0) + points.std(0) * noise.normal(2)
    new, gain = proposal.walk(at, noise)
    assert torch.allclose(gain.float(), (normal.log_prob(at) - normal.log_prob(new)).sum(1), atol=1e-3)
    assert torch.allclose(new.mean(0), points.mean(0), atol=0.01)
    assert torch.allclose(new.std(0), points.std(0), rtol=0.02)
    assert float(torch.corrcoef(torch.stack([at[:, 0], new[:, 0]]))[0, 1]) == pytest.approx(0.6, abs=0.02)
    drawn = proposal.draw(IndexedNoise(1, 40_000))
    assert float(drawn[:, 0].mean()) == pytest.approx(0.8 * float(points[:, 0].mean()), abs=0.02)


@pytest.mark.parametrize(("particles", "centres"), [(64, 64), (256, 128)])
def test_proposals_are_around_half_of_the_particles(monkeypatch, particles, centres):
    from dgm_given.chains import population

    seen, nearest = [], population.nearest_to
    monkeypatch.setattr(population, "nearest_to", lambda p, n, k: seen.append((len(p), n, k)) or nearest(p, n, k))
    target = posterior_of(asked())
    populate(target, target.draw(IndexedNoise(0, 4 * particles)), IndexedNoise(1, particles))
    assert seen[-1] == (4 * particles, centres, 288) and seen[0] == (particles, 512, 64)


# --- chains ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kernel", ["mala", "pcn"])
@pytest.mark.parametrize("heat", [1.0, 0.25])
def test_steps_keep_the_tempered_posterior(kernel, heat):
    """Draws of the posterior at that heat stay draws of it."""
    target = posterior_of(asked(sigma=1.0))
    n, precision = 20_000, 1 + heat * 4
    mean = heat * 2 * 2 / precision
    eps = IndexedNoise(0, n).normal(2)
    eps[:, 0] = mean + eps[:, 0] / precision**0.5
    state, noise = target.evaluate(eps, slopes=True), IndexedNoise(1, n)
    taken = []
    for _ in range(5):
        if kernel == "mala":
            state, p = mala(target, state, noise, torch.full((n, 1), 0.5), torch.ones_like(eps), heat)
        else:
            state, p = pcn(target, state, noise, torch.full((n, 1), 0.5), heat)
        taken.append(float(p.mean()))
    assert min(taken) > 0.3 and max(taken) < 1.0
    assert abs(float(state.eps[:, 0].mean()) - mean) < 0.03 and abs(float(state.eps[:, 0].var()) - 1 / precision) < 0.02
    assert abs(float(state.eps[:, 1].mean())) < 0.03 and abs(float(state.eps[:, 1].var()) - 1) < 0.04


def test_phi_is_minus_what_is_said_and_its_slope_is_the_gradient():
    seen = Observation([3.0], lambda x: x[:, :1], sigma=0.5).fit(Scaled())
    target = Posterior(given(Scaled().eval(), seen).tilted(), [seen.score], 64)
    eps = IndexedNoise(0, 10).normal(2).requires_grad_()
    state = target.evaluate(eps.detach(), slopes=True)
    want = -seen.score(2 * eps + 1)
    (slope,) = torch.autograd.grad(want.sum(), eps)
    assert torch.allclose(state.phi, want.detach(), rtol=1e-4) and torch.allclose(state.slope, slope, rtol=1e-4)
    assert torch.equal(target.data(eps.detach()), (2 * eps + 1).detach())


# --- corrections -------------------------------------------------------------------------------------


def test_a_miss_beyond_sigma_is_noise_to_the_model():
    one = Observation([1.0, 1.0], sigma=0.1).fit(Scaled())
    x = torch.tensor([[1.4, 1.4], [1.05, 1.05], [1.0, 1.0]])
    assert heat_of(x, [one]).tolist() == pytest.approx([0.0625, 1.0, 1.0])
    two = Observation([1.0], lambda x: x[:, :1], sigma=0.2).fit(Scaled())
    assert heat_of(x, [one, two]).tolist() == pytest.approx([0.0625, 1.0, 1.0]), "the worst of them"


def test_corrections_go_as_far_as_the_miss_says():
    one = Observation([1.0], lambda x: x[:, :1], sigma=0.3).fit(Scaled())
    x = torch.tensor([[2.0, 7.0], [1.2, 7.0]])
    tau2 = 1.0 - 0.09
    moved = corrected(x, [one])
    assert moved[0].tolist() == pytest.approx([2.0 - tau2 / (tau2 + 0.09), 7.0], abs=1e-4)
    assert torch.equal(moved[1], x[1]), "within sigma nothing is moved"
    assert float(corrected(x, [one], limits=(-5, 5))[0, 1]) == 5.0 and torch.equal(corrected(x, [Nothing()]), x)


# --- guided diffusions -------------------------------------------------------------------------------


class Denoiser(Model):
    """The ideal denoiser of N(0.4, 0.5^2 I)."""

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.register_buffer("alpha_bar", torch.linspace(0.99, 0.02, 20))
        self.betas = 1 - self.alpha_bar / torch.cat([torch.ones(1), self.alpha_bar[:-1]])
        schedule = type("Schedule", (), {"steps": 20})
        self.config = type("Config", (), {"clip": None, "schedule": schedule})

    def denoise(self, x, t, clip=False):
        bar = self.alpha_bar[t]
        gain = bar.sqrt() * 0.25 / (bar * 0.25 + 1 - bar)
        return 0.4 + gain * (x - bar.sqrt() * 0.4)

    def sample(self, noise):
        raise AssertionError("it is asked for its denoiser only")


class Silent:
    """Noise that is nothing."""

    def normal(self, *shape, name=None):
        return torch.zeros(3, *shape)


@pytest.mark.parametrize("strength", [1.0, 2.0])
@pytest.mark.parametrize("way", ["moment", "dps"])
def test_a_guided_step_is_that_of_the_paper(way, strength):
    base, seen = Denoiser(), Observation([1.2], lambda x: x[:, :1], sigma=0.1)
    asked = type("Asked", (), {})()
    asked.base, asked.observations, asked.critics = base, [seen], []
    asked.terms = lambda spread: [lambda x: seen.score(x, spread)]
    x, t, before = torch.tensor([[0.3, 0.1], [2.0, -1.0], [-0.5, 0.7]]), 9, 4
    got = guided_diffusion._Guided(asked, Silent(), way, strength)(x, t, before)
    bar, then = float(base.alpha_bar[t]), float(base.alpha_bar[before])
    xt = x.clone().requires_grad_()
    x0 = base.denoise(xt, t)
    short = 1.2 - x0[:, 0]
    if way == "moment":
        (slope,) = torch.autograd.grad((-(short**2) / (2 * (0.01 + 1 - bar))).sum(), xt)
        x0 = x0.detach() + strength * (1 - bar) / math.sqrt(bar) * slope
    else:
        (slope,) = torch.autograd.grad((-(short**2)).sum(), xt)
        slope = strength * slope / short.abs().detach()[:, None]
    beta = 1 - bar / then
    mean = (math.sqrt(then) * beta * x0.detach() + math.sqrt(1 - beta) * (1 - then) * x) / (1 - bar)
    assert torch.allclose(got, mean if way == "moment" else mean + slope, atol=1e-4)


def test_the_strength_of_guidance_is_1_where_nobody_says(monkeypatch):
    seen = []
    kind = guided_diffusion._Guided
    monkeypatch.setattr(
        guided_diffusion, "_Guided", lambda m, n, way, strength: seen.append(strength) or kind(m, n, way, strength)
    )
    model = given(Denoiser().eval(), Observation([1.0], lambda x: x[:, :1], sigma=0.1))
    for options in ({}, {"guidance": 3.0}):
        dgmcore.sample(model, 2, sampler="moment", steps=2, **options)
    assert seen == [1.0, 3.0]


# --- what is asked -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("limits", "low", "high"), [(None, -1.0, 1.0), ((0.0, 1.0), 0.0, 1.0), ((0.0, 255.0), 0.0, 255.0)]
)
def test_pictures_are_carried_to_the_range_of_the_model(tmp_path, limits, low, high):
    model = Scaled(shape=(1, 2, 2)).eval()
    if limits is not None:
        data = Data(dataset="x", event_shape=(1, 2, 2), range=limits)
        model.entry = Entry(schema=1, name="x", architecture="x", license="none", data=data)
    picture = Image.new("L", (2, 2))
    picture.putdata([0, 51, 204, 255])
    picture.save(tmp_path / "seen.png")
    (seen,) = observations(model, [str(tmp_path / "seen.png")])
    want = low + (high - low) * torch.tensor([0.0, 0.2, 0.8, 1.0])
    assert torch.allclose(seen.y.flatten(), want, atol=1e-5)
