"""What each option of sampling a posterior does, and how chains are warmed up, where the right value is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from dgm_given import Observation, given, samplers
from dgm_given.chains import Scale, StepSize
from dgm_given.chains.local import LocalMixture, nearest_to
from dgm_given.chains.population import _step
from dgm_given.optimum import descent
from dgm_given.parsing import _mask, _pixels
from dgm_given.samplers import Chain, posterior_of
from PIL import Image

from dgmcore import IndexedNoise, Model
from dgmcore.errors import DataError, OptionError


class Shifted(Model):
    """x = z + 1 with standard normal z."""

    noise_shapes: dict

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape, self.noise_shapes = (2,), {"z": (2,)}

    def push(self, eps):
        return eps["z"] + 1.0

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))


def asked(value=2.0, sigma=0.1):
    return given(Shifted().eval(), Observation([value], lambda x: x[:, :1], sigma=sigma))


def states(n=6, model=None, **options):
    return list((model or asked()).trajectory(IndexedNoise(0, n), **options))


def chain(n=200, sampler="mala", warmup=20, **options):
    model = asked()
    target, noise = posterior_of(model), IndexedNoise(0, n)
    return Chain(target, target.draw(noise), noise.child("chain"), model.sampling(options), sampler, warmup)


@pytest.mark.parametrize("sampler", ["mala", "hmc", "pcn", "langevin"])
def test_chains_make_so_many_steps(sampler):
    assert len(states(sampler=sampler, warmup=7, steps=4)) == 1 + 7 + 4
    assert len(states(sampler=sampler, warmup=0, steps=1)) == 1 + 1


def test_chains_make_200_steps_where_nobody_says():
    assert len(states(n=2, sampler="pcn")) == 1 + 150 + 50
    assert len(states(n=2, sampler="pcn", warmup=3)) == 1 + 3 + 50


def test_langevin_takes_every_step_and_others_do_not():
    for sampler, all_of_them in (("langevin", True), ("mala", False), ("pcn", False)):
        model = asked()
        states(n=50, model=model, sampler=sampler, warmup=5, steps=20, step_size=0.9)
        assert (model.report()["acceptance"] == 1.0) is all_of_them, sampler


def test_a_step_size_that_is_given_stays_and_another_is_learned():
    fixed, learned = chain(step_size=0.25), chain()
    before = learned.size.clone()
    for k in range(20):
        fixed.warm(k)
        learned.warm(k)
    fixed.settle()
    assert (fixed.size == 0.25).all() and not torch.equal(learned.size, before)
    learned.settle()
    assert torch.equal(learned.size, learned.adapt.settled()), "the average of the warm-up"
    assert (chain(sampler="pcn").size == 0.3).all() and (chain().size == 0.1).all()


@pytest.mark.parametrize("leapfrogs", [1, 4])
def test_hamiltonian_paths_have_so_many_leapfrogs(monkeypatch, leapfrogs):
    kernel, seen = samplers.hmc, []
    monkeypatch.setattr(samplers, "hmc", lambda *args: seen.append(args) or kernel(*args))
    states(sampler="hmc", warmup=0, steps=3, leapfrogs=leapfrogs, step_size=0.1)
    assert [args[-1] for args in seen] == [leapfrogs] * 3
    sizes = torch.cat([args[3] for args in seen])
    assert sizes.min() >= 0.08 and sizes.max() <= 0.12 and len(sizes.unique()) > 5, "jittered by a fifth"


@pytest.mark.parametrize(
    ("options", "config", "size"), [({"particles": 70}, None, 70), ({}, 100, 100), ({}, None, 4096)]
)
def test_a_population_has_so_many_particles(monkeypatch, options, config, size):
    sizes, made = [], samplers.populate

    def populate(target, eps, noise):
        sizes.append((len(eps), noise.n))
        return made(target, eps[:400], noise.narrow(0, 100))

    monkeypatch.setattr(samplers, "populate", populate)
    model = asked()
    if config is not None:
        model.config = type(model.config)(particles=config)
    states(model=model, steps=2, **options)
    assert sizes == [(4 * size, size)]
    with pytest.raises(OptionError, match="at least 64"):
        states(particles=63)


def test_a_quarter_of_a_populations_moves_are_walks(monkeypatch):
    called = []
    for name in ("walk", "independence"):
        kernel = getattr(samplers, name)
        monkeypatch.setattr(samplers, name, lambda *a, kernel=kernel, name=name: called.append(name) or kernel(*a))
    assert len(states(steps=8, particles=128)) == 9
    assert called == ["independence", "independence", "independence", "walk"] * 2


@pytest.mark.parametrize(("tau", "steps"), [(1.0, 50), (3.0, 99), (5.0, 186), (50.0, 800)])
def test_enough_steps_bring_r_hat_to_3_percent(tau, steps):
    assert samplers._enough(tau) == steps
    if 50 < steps < 800:
        assert math.sqrt(1 + (4 / 3 * tau - 1) / (steps / 2)) == pytest.approx(1.03, abs=0.002)


def test_chains_start_at_the_best_of_so_many_candidates():
    model, noise = asked(value=2.5, sigma=0.3), IndexedNoise(0, 800)
    target = posterior_of(model)
    eps = target.draw(noise)
    assert samplers._start(target, eps, noise, model.sampling({"candidates": 1})) is eps
    start = samplers._start(target, eps, noise, model.sampling({"candidates": 400}))
    # resampled by their likelihood they are draws of the posterior: of z0 given z0 + 1 + 0.3 n = 2.5
    gain = 1 / (1 + 0.3**2)
    assert abs(start[:, 0].mean() - gain * 1.5) < 0.05
    assert abs(start[:, 0].var() - (1 - gain)) < 0.02
    assert abs(start[:, 1].mean()) < 0.15 and abs(start[:, 1].std() - 1) < 0.1, "what is not seen is the prior's"


def test_a_descent_moves_a_draw_only_where_something_was_seen():
    target = posterior_of(asked(value=2.5, sigma=0.3))
    start = target.evaluate(target.draw(IndexedNoise(0, 50)), slopes=True)
    *_, end = descent(target, start, 200, towards=start.eps)
    gain = 1 / (1 + 0.3**2)  # of z0 given z0 + 1 + 0.3 n = 2.5
    assert torch.allclose(end.eps[:, 0], gain * 1.5 + (1 - gain) * start.eps[:, 0], atol=0.02)
    assert torch.allclose(end.eps[:, 1], start.eps[:, 1], atol=1e-4)
    *_, optimum = descent(target, start, 200)
    assert torch.allclose(optimum.eps, torch.tensor([gain * 1.5, 0.0]), atol=0.02), "of the prior too"


@pytest.mark.parametrize("sampler", ["mala", "hmc", "langevin"])
def test_a_warm_up_brings_every_draw_to_what_is_hardly_ever_drawn(sampler):
    narrow = asked(value=2.5, sigma=0.01)
    last = states(n=50, model=narrow, sampler=sampler, warmup=150, steps=1, candidates=1)[90]  # where the descent ends
    off = (last[:, 0] - 2.5).abs()
    assert off.median() < 0.01 and off.max() < 0.3
    assert last[:, 1].std() > 0.7, "and leaves what was not seen as it was drawn"


def test_chains_are_annealed_from_the_prior_to_the_posterior(monkeypatch):
    it, heats = chain(warmup=20), []
    monkeypatch.setattr(it, "_moved", lambda heat: heats.append(heat) or torch.ones(200))
    for k in range(20):
        it.warm(k)
    it.step()
    assert it.annealed == 12
    first = torch.cat([torch.as_tensor(h).expand(200, 1) for h in heats[:12]], 1)
    assert (first.diff(dim=1) >= 0).all() and torch.allclose(first[:, -1], torch.ones(200))
    assert torch.allclose(first[:, :1], it.coldest ** (11 / 12)) and heats[12:] == [1.0] * 9
    phi = it.state.phi.abs().clamp(min=1.0)
    assert torch.allclose(it.coldest[:, 0], (2 / phi).clamp(max=1.0)), "where the likelihood is of the prior's size"


def test_a_mixtures_density_is_that_of_each_point_alone():
    points = IndexedNoise(0, 700).normal(2)
    mixture = LocalMixture(points, *nearest_to(points, 64, 32))
    whole = mixture.log_density(points)
    assert torch.allclose(whole[250:262], torch.cat([mixture.log_density(p[None]) for p in points[250:262]]))


@pytest.mark.parametrize("wanted", [0.25, 0.8])
def test_step_sizes_are_learned_for_the_acceptance_that_is_wanted(wanted):
    adapt = StepSize(torch.full((3, 1), 0.01), wanted)
    for _ in range(2000):
        adapt.update(torch.exp(-adapt.value[:, 0]))
    assert torch.allclose(adapt.settled(), torch.full((3, 1), -math.log(wanted)), rtol=0.05)
    bounded = StepSize(torch.full((1, 1), 0.01), 0.01, most=0.5)
    for _ in range(50):
        bounded.update(torch.ones(1))
    assert float(bounded.value) == pytest.approx(0.5)


def test_scales_are_those_of_the_gradients_and_never_above_the_priors():
    scale = Scale(torch.zeros(1, 2))
    for sign in (1, -1) * 60:
        scale.update(torch.tensor([[4.0 * sign, 0.1 * sign]]))
    assert torch.allclose(scale.value(), torch.tensor([[1 / 16, 1.0]]), rtol=1e-4)
    once = Scale(torch.zeros(1, 1))
    once.update(torch.tensor([[3.0]]))
    assert float(once.value()) == pytest.approx(1 / 9), "without the zeros of the start"


def test_what_is_seen_has_the_gaussians_density():
    seen = Observation([1.0, 2.0, 3.0], lambda x: x, sigma=0.5)
    x = torch.tensor([[1.0, 2.5, 2.0]])
    want = torch.distributions.Normal(x, 0.5).log_prob(torch.tensor([1.0, 2.0, 3.0])).sum()
    assert float(seen.score(x)) == pytest.approx(float(want), rel=1e-5)
    wide = torch.distributions.Normal(x, math.hypot(0.5, 2.0)).log_prob(torch.tensor([1.0, 2.0, 3.0])).sum()
    assert float(seen.score(x, misfit=2.0)) == pytest.approx(float(wide), rel=1e-5), "of what the model misses"


def test_pictures_that_are_given_are_read_as_all_pictures_are(tmp_path):
    grey = np.arange(0, 240, 10, np.uint8).reshape(4, 6)
    deep, turned = tmp_path / "deep.png", tmp_path / "turned.png"
    Image.fromarray(grey.astype(np.uint16) * 257).save(deep)
    exif = Image.Exif()
    exif[0x0112] = 6  # lies on its side
    Image.fromarray(np.ascontiguousarray(np.rot90(grey))).save(turned, exif=exif)
    for path in (deep, turned):
        pixels, opaque = _pixels(path, (4, 6), "L")
        assert np.array_equal(pixels, grey) and opaque is None, path
        assert np.array_equal(_mask(path, (1, 4, 6)).numpy(), grey >= 128), path
    moving = tmp_path / "moving.png"
    frames = [Image.fromarray(grey), Image.fromarray(grey[::-1].copy())]
    frames[0].save(moving, save_all=True, append_images=frames[1:])
    with pytest.raises(DataError, match="is an animation"):
        _pixels(moving, (4, 6), "L")


def test_a_population_is_cooled_by_steps_at_which_half_of_it_counts():
    phi = 30 * torch.linspace(0, 1, 500, dtype=torch.float64).square()
    step = _step(phi, 1.0)
    weights = (-step * phi).softmax(0)
    assert float(1 / weights.square().sum()) == pytest.approx(250, rel=0.02) and 0 < step < 1
    assert _step(phi / 1000, 1.0) == 1.0, "no further than to the posterior"


def test_critics_are_frozen_and_keep_their_weight():
    class Slope(Model):
        def __init__(self, config=None, **parts):
            super().__init__(config, **parts)
            self.slope = torch.nn.Parameter(torch.ones(2))

        def score(self, x):
            return x @ self.slope

    critic = Slope()
    model = given(Shifted().eval(), tilt=[(critic, 2.0)])
    assert not critic.slope.requires_grad
    assert torch.equal(model.terms()[0](torch.ones(3, 2)), torch.full((3,), 4.0))
