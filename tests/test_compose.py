"""Langevin dynamics on nested noise, and models tilted by critics."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from dgmcore import IndexedNoise, Model, given
from dgmcore.compose import (
    Tilted,
    flatten,
    frozen,
    langevin,
    langevin_step,
    metropolis,
    tilt,
    tree_map,
    unflatten,
)
from dgmcore.config import Config, Options
from dgmcore.errors import NotFiniteError, OptionError, PluginError, UsageError
from dgmcore.interfaces import capabilities
from dgmcore.sampling.draw import first_states

SHAPES = {"z": {"0": (3,), "1": (2, 2)}, "x": (4,)}


class Base(Model):
    """A nonlinear pushforward of nested noise, and the Gaussian `scale * eps + shift` for `linear`."""

    class Config(Config):
        linear: bool = False
        scale: float = 2.0
        shift: float = 1.0

    class Sampling(Options):
        temperature: float = 1.0

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (4,)
        self.noise_shapes = {"x": (4,)} if self.config.linear else SHAPES
        self.net = nn.Linear(7, 4, dtype=torch.float64)

    noise_shapes: dict

    def push(self, eps):
        if self.config.linear:
            return self.config.scale * eps["x"] + self.config.shift
        z = torch.cat([eps["z"]["0"], eps["z"]["1"].flatten(1)], 1)
        return torch.tanh(self.net(z.to(self.net.weight))) + 0.1 * eps["x"]

    def sample(self, noise, **options):
        return self.push(noise.named(self.noise_shapes))


class Well(Model):
    """score(x) = -sum (x - c)^2 / (2 v)."""

    class Config(Config):
        center: float = -1.0
        variance: float = 0.5

    def score(self, x):
        return -(x - self.config.center).square().flatten(1).sum(1) / (2 * self.config.variance)


@pytest.fixture
def tilted():
    torch.manual_seed(0)
    return Tilted({"weight": 0.7}, base=Base(), critic=Well()).eval()


def test_one_step_with_given_noise_is_the_formula(tilted):
    eta, temperature = 0.05, 0.6
    eps = IndexedNoise(1, 5, dtype=torch.float64).named(SHAPES)
    w = IndexedNoise(2, 5, dtype=torch.float64).named(SHAPES)
    moved = langevin_step(tilted.potential, eps, w, eta, temperature)

    # each sample on its own, gradients of the score by hand: d tanh = 1 - tanh^2
    weight, bias = tilted.parts["base"].net.weight.detach(), tilted.parts["base"].net.bias.detach()
    for i in range(5):
        z = torch.cat([eps["z"]["0"][i], eps["z"]["1"][i].flatten()])
        t = torch.tanh(weight @ z + bias)
        ds = -(t + 0.1 * eps["x"][i] + 1.0) / 0.5
        grad_z, grad_x = weight.T @ ((1 - t * t) * ds), 0.1 * ds
        for name, value, grad in (
            ("0", moved["z"]["0"][i], grad_z[:3]),
            ("1", moved["z"]["1"][i].flatten(), grad_z[3:]),
            ("x", moved["x"][i], grad_x),
        ):
            e, o = (tree["x"] if name == "x" else tree["z"][name] for tree in (eps, w))
            e, o = e[i].flatten(), o[i].flatten()
            expected = e - eta / 2 * (e - 0.7 * grad) + math.sqrt(eta * temperature) * o
            assert (value - expected).abs().max() < 1e-6, name


def test_samples_of_a_tilted_gaussian_are_gaussian():
    model = Tilted(base=Base({"linear": True}), critic=Well()).eval()
    x = model.sample(IndexedNoise(0, 4000), steps=300, step_size=0.02)
    # N(1, 4) times exp(-(x + 1)^2 / (2 * 0.5)): precision 1/4 + 2, mean (1/4 - 2) / (9/4)
    assert abs(x.mean() - (0.25 - 2) / 2.25) < 0.02
    assert abs(x.std() - math.sqrt(1 / 2.25)) < 0.03


@pytest.mark.parametrize("step_size", [0.3, 0.6])
def test_metropolis_samples_of_a_tilted_gaussian_have_no_error_of_steps(step_size):
    model = Tilted(base=Base({"linear": True}), critic=Well()).eval()
    x = model.sample(IndexedNoise(0, 4000), sampler="metropolis", steps=300, step_size=step_size)
    assert abs(x.mean() - (0.25 - 2) / 2.25) < 0.02
    assert abs(x.std() - math.sqrt(1 / 2.25)) < 0.02


def test_metropolis_accepts_by_the_formula(tilted):
    eps = IndexedNoise(1, 64, dtype=torch.float64).named(SHAPES)
    after = next(metropolis(tilted.excess, eps, IndexedNoise(2, 64, dtype=torch.float64), steps=1, step_size=0.6))
    noise = IndexedNoise(2, 64, dtype=torch.float64)  # the same draws by hand
    proposal = tree_map(lambda e: 0.8 * e + 0.6 * noise.normal(*e.shape[1:]), eps)
    scores = [0.7 * Well().score(tilted.parts["base"].push(state)) for state in (eps, proposal)]
    accepted = noise.uniform() < (scores[1] - scores[0]).exp()
    assert 0 < accepted.sum() < 64
    for old, new, now in zip(*(flatten(tree).values() for tree in (eps, proposal, after)), strict=True):
        for i in range(64):
            assert torch.equal(now[i], (new if accepted[i] else old)[i])


def test_metropolis_needs_no_gradient_and_at_temperature_zero_never_loses_score():
    class Steps(Model):
        def score(self, x):
            return x.sum(1).floor()  # its gradient is zero everywhere

    model = Tilted(base=Base({"linear": True}), critic=Steps()).eval()
    options = {"sampler": "metropolis", "steps": 12, "step_size": 0.5, "temperature": 0.0}
    scores = torch.stack([model.critic_score(x) for x in model.trajectory(IndexedNoise(0, 200), **options)])
    assert (scores.diff(dim=0) >= 0).all()
    assert (scores[-1] > scores[0]).float().mean() > 0.9


@pytest.mark.parametrize(
    "option, named",
    [
        ({"steps": -3}, "steps: expected `int` >= 0"),
        ({"temperature": -1.0, "step_size": 0.1}, "temperature -1"),
        ({"step_size": -0.1}, "size -0.1"),
    ],
)
@pytest.mark.parametrize("sampler", ["langevin", "metropolis"])
def test_chains_name_options_outside_their_range(tilted, sampler, option, named):
    with pytest.raises(OptionError, match=named):
        tilted.sample(IndexedNoise(0, 2), sampler=sampler, **option)


@pytest.mark.parametrize("step_size", [0.0, -0.1, 1.5])
def test_metropolis_names_a_step_size_outside_its_range(tilted, step_size):
    with pytest.raises(OptionError, match=f"step of size {step_size:g}"):
        tilted.sample(IndexedNoise(0, 2), sampler="metropolis", step_size=step_size)


def test_the_trajectory_goes_from_the_base_to_the_sample(tilted):
    states = list(tilted.trajectory(IndexedNoise(3, 6), steps=4))
    assert len(states) == 5
    assert torch.equal(states[0], tilted.parts["base"].sample(IndexedNoise(3, 6)))
    assert torch.equal(states[-1], tilted.sample(IndexedNoise(3, 6), steps=4))
    assert not any(x.requires_grad for x in states)


@pytest.mark.parametrize("options", [{}, {"sampler": "metropolis", "step_size": 0.5}])
def test_samples_do_not_depend_on_the_batch(tilted, options):
    whole = tilted.sample(IndexedNoise(3, 6), steps=5, **options)
    part = tilted.sample(IndexedNoise(3, 2, start=4), steps=5, **options)
    assert (whole[4:] - part).abs().max() < 1e-6


def test_noise_held_at_the_mean_has_no_effect():
    torch.manual_seed(0)
    base = Base()
    model = Tilted({"mean": ["x"], "base_temperature": 0.5}, base=base, critic=Well()).eval()
    eps = IndexedNoise(0, 3).named(model.chain_shapes)
    assert set(eps) == {"z"}
    by_hand = base.push({"z": tree_map(lambda e: 0.5 * e, eps["z"]), "x": torch.zeros(3, 4)})
    assert torch.equal(model.push(eps), by_hand)
    assert torch.equal(next(model.trajectory(IndexedNoise(0, 3))), by_hand.detach())


def test_chains_leave_parameters_trainable_and_without_gradients(tilted):
    tilted.sample(IndexedNoise(0, 2), steps=2)
    assert all(p.requires_grad and p.grad is None for p in tilted.parameters())
    with frozen(tilted):
        assert not any(p.requires_grad for p in tilted.parameters())


def test_tilt_takes_the_bases_own_temperature():
    base = Base()
    base.set_sampling_defaults({"temperature": 0.7})
    assert tilt(base, Well(), 2.0).config == Tilted.Config(weight=2.0, base_temperature=0.7)


@pytest.mark.parametrize("version", [1, 2])
def test_tilt_draws_by_the_bases_version_of_the_noise(version):
    base = Base()
    base.noise_version = version
    tilted = tilt(base, Well())
    first, *_ = first_states(tilted, 3, seed=5, steps=2)
    noise = IndexedNoise.of(base, 5, 3).named(base.noise_shapes)
    assert tilted.noise_version == version and torch.equal(first, base.push(noise))


def test_tilted_is_what_its_protocols_say():
    assert capabilities(Tilted) == ["generator", "trajectory"]


@pytest.mark.parametrize(
    "make",
    [
        lambda: tilt(Base(), Base()),
        lambda: tilt(Well(), Well()),
        lambda: Tilted(base=Well(), critic=Well()),
        lambda: Tilted({"mean": ["y"]}, base=Base(), critic=Well()),
        lambda: Tilted(base=Base(), critic=Well()).sample(IndexedNoise(0, 2), stps=3),
    ],
)
def test_unfit_parts_and_options_are_named(make):
    with pytest.raises((UsageError, OptionError)) as caught:
        make()
    assert caught.value.hint


def test_flatten_and_tree_map_keep_the_order():
    tree = {"b": {"1": 1, "0": 2}, "a": 3}
    assert list(flatten(tree)) == ["b/1", "b/0", "a"]
    assert unflatten(flatten(tree)) == tree
    assert tree_map(lambda u, v: u + v, tree, tree) == {"b": {"1": 2, "0": 4}, "a": 6}


def test_an_unknown_sampler_offers_those_there_are(tilted):
    with pytest.raises(OptionError, match="no sampler is called 'langevim'") as caught:
        tilted.sample(IndexedNoise(0, 2), sampler="langevim")
    assert "langevin" in caught.value.hint


class Odd(Model):
    """A critic whose score is `value` where the first coordinate is positive, and flat elsewhere."""

    value = math.nan

    def score(self, x):
        return torch.where(x[:, 0] > 0, self.value, 0.0 * x.sum(1))


@pytest.mark.parametrize("options", [{}, {"sampler": "metropolis", "step_size": 0.5}])
@pytest.mark.parametrize("value", [math.nan, math.inf])
def test_a_critic_that_is_not_finite_is_an_error_and_no_sample(options, value):
    model = Tilted(base=Base({"linear": True}), critic=Odd()).eval()
    model.critic.value = value
    with pytest.raises(NotFiniteError, match=r"the critic's score of \d+ of 50 samples is not finite") as caught:
        model.sample(IndexedNoise(0, 50), **options)
    assert "critic" in caught.value.hint


def test_metropolis_takes_minus_infinity_for_what_is_impossible():
    class Half(Model):
        def score(self, x):
            return torch.where(x[:, 0] > 0, 0.0, -math.inf)

    model = Tilted(base=Base({"linear": True}), critic=Half()).eval()
    x = model.sample(IndexedNoise(0, 200), sampler="metropolis", steps=40, step_size=1.0)
    assert (x[:, 0] > 0).all()


@pytest.mark.parametrize("steps", [1, 50])
def test_a_chain_that_diverges_is_an_error_that_names_the_step(steps):
    eps = {"z": torch.full((3, 2), 1e30)}
    chain = langevin(lambda e: e["z"].square().square().sum(1), eps, IndexedNoise(0, 3), steps=steps, step_size=1e10)
    with pytest.raises(NotFiniteError, match="of 3 of") as caught:
        list(chain)
    assert caught.value.hint


def test_the_last_state_is_checked_too():
    chain = langevin(lambda e: -e["z"].sum(1), {"z": torch.ones(4, 2)}, IndexedNoise(0, 4), steps=1, step_size=1e38)
    list(chain)
    steep = langevin(lambda e: -9 * e["z"].sum(1), {"z": torch.ones(4, 2)}, IndexedNoise(0, 4), steps=1, step_size=1e38)
    with pytest.raises(NotFiniteError, match="the state of 4 of 4 chains is not finite after 1 steps"):
        list(steep)


@pytest.mark.parametrize("options", [{}, {"sampler": "metropolis", "step_size": 0.5}])
def test_chains_run_under_inference_mode(tilted, options):
    expected = tilted.sample(IndexedNoise(3, 6), steps=5, **options)
    with torch.inference_mode():
        x = tilted.sample(IndexedNoise(3, 6), steps=5, **options)
        *_, last = tilted.trajectory(IndexedNoise(3, 6), steps=5, **options)
    assert torch.equal(x, expected) and torch.equal(last, expected)
    assert all(p.requires_grad for p in tilted.parameters())


def test_the_gradient_of_a_chain_is_cut_and_its_last_step_has_a_temperature_of_its_own():
    model = Tilted(base=Base({"linear": True}), critic=Well()).eval()  # x = 2 eps + 1 and U' = 9 eps + 8

    def states(**options):
        drawn = model.trajectory(IndexedNoise(0, 50), step_size=0.2, **options)
        return [(x - 1) / 2 for x in drawn]

    a, b = states(steps=1, temperature=0.0, gradient_clip=0.5)
    assert torch.allclose(b, a - 0.1 * (9 * a + 8).clamp(-0.5, 0.5), atol=1e-5)
    for last in (None, 0.0):
        _, a, b = states(steps=2, temperature=1.0, **({} if last is None else {"final_temperature": last}))
        noise = b - (a - 0.1 * (9 * a + 8))
        assert abs(float(noise.std()) - (0.0 if last == 0.0 else 0.2**0.5)) < 0.05


class Wrong(Model):
    """A critic of which a score is made up."""

    def __init__(self, score):
        super().__init__()
        self.made = score

    def score(self, x):
        return self.made(x)


@pytest.mark.parametrize("sampler", ["langevin", "metropolis", "pcn"])
def test_a_score_that_is_no_number_for_each_datum_is_refused(sampler):
    for made in (
        lambda x: x.sum(1, keepdim=True),
        lambda x: x.sum(),
        lambda x: x.new_zeros(len(x) + 1),
        lambda x: None,
    ):
        model = tilt(Base({"linear": True}), Wrong(made))
        model = given(Base({"linear": True}), tilt=[(Wrong(made), 1.0)]) if sampler == "pcn" else model
        with pytest.raises(PluginError, match=r"the score of Wrong is no \("):
            model.sample(IndexedNoise(0, 3), steps=2, sampler=sampler)


@pytest.mark.parametrize("sampler", ["metropolis", "pcn", "mala"])
def test_samples_are_not_where_a_critic_allows_nothing(sampler):
    def nowhere(x):
        return 0.0 * x.sum(1) - math.inf

    model = tilt(Base({"linear": True}), Wrong(nowhere))
    model = model if sampler == "metropolis" else given(Base({"linear": True}), tilt=[(Wrong(nowhere), 1.0)])
    with pytest.raises(NotFiniteError, match=r"not finite|allow nothing"):
        model.sample(IndexedNoise(0, 3), steps=2, sampler=sampler)


@pytest.mark.parametrize("detached", [lambda x: -x.detach().square().sum(1), lambda x: x.new_zeros(len(x))])
def test_chains_refuse_a_score_without_a_gradient_to_follow(detached):
    model = tilt(Base({"linear": True}), Wrong(detached))
    with pytest.raises(PluginError, match="no gradient") as e:
        model.sample(IndexedNoise(0, 3), steps=2)
    assert "metropolis" in e.value.hint
    assert model.sample(IndexedNoise(0, 3), steps=2, sampler="metropolis").isfinite().all()
