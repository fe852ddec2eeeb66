"""Boltzmann machines small enough to be summed over: their probabilities, samples, normaliser and training."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from dgm_ebms.rbm import RBM, annealed, enumerated
from dgm_ebms.stacked import StackedRBM
from dgm_ebms.training import PersistentContrastiveDivergence

import dgmcore
from dgmcore import IndexedNoise
from dgmcore.data import open_data
from dgmcore.errors import DataError, RegistryError, UsageError
from dgmcore.sampling.stream_noise import StreamNoise

ROOT = Path(__file__).parents[3]


def states(d):
    return torch.cartesian_prod(*[torch.arange(2.0)] * d)


@pytest.fixture
def machine():
    """Nine pixels, five hidden units, with strong weights."""

    torch.manual_seed(0)
    model = RBM({"event_shape": [1, 3, 3], "hidden": 5})
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.copy_(1.5 * torch.randn_like(parameter))
    return model


def joint(model):
    """Probabilities of all states by the definition: a sum over all of both layers."""

    v, h = states(9).double(), states(5).double()
    b, c, w = (t.detach().double() for t in (model.visible_bias, model.hidden_bias, model.weight))
    exponent = (v @ b)[:, None] + h @ c + v @ w @ h.T
    return (exponent - exponent.flatten().logsumexp(0)).exp().sum(1)


def test_probabilities_are_those_of_the_definition(machine):
    x = states(9).view(-1, 1, 3, 3)
    with torch.no_grad():
        p = machine.log_prob(x).double().exp()
    assert torch.allclose(p, joint(machine), atol=1e-6)


def test_samples_have_the_probabilities(machine):
    n = 6000
    x = machine.sample(IndexedNoise(0, n), steps=60)
    assert set(x.unique().tolist()) == {0.0, 1.0}
    places = (x.flatten(1) @ (2.0 ** torch.arange(8, -1, -1))).long()
    counts, p = torch.bincount(places, minlength=512).double(), joint(machine)
    often = n * p >= 5
    seen = torch.cat([counts[often], counts[~often].sum()[None]])
    due = n * torch.cat([p[often], p[~often].sum()[None]])
    chi, freedom = float(((seen - due).square() / due).sum()), len(due) - 1
    assert chi < freedom + 5 * math.sqrt(2 * freedom), (chi, freedom)


@pytest.mark.parametrize("shape", [(13, 14), (14, 13)])
def test_annealing_finds_the_normaliser_of_a_machine_that_can_be_summed(shape):
    torch.manual_seed(1)
    w, b, c = torch.randn(shape), torch.randn(shape[0]), torch.randn(shape[1])
    right = enumerated(b, c, w)
    found = [annealed(b, c, w, torch.randn(shape[0]), StreamNoise(seed, 100), 500) for seed in range(4)]
    for value, error in found:
        assert abs(value - right) < 0.1
        assert 0 < error < 0.1
    mean = sum(v for v, _ in found) / 4
    assert abs(mean - right) < 4 * max(e for _, e in found) / 2


def test_without_weights_the_normaliser_is_exact_at_any_temperature():
    b, c = torch.tensor([0.3, -1.0, 2.0]), torch.zeros(4)
    value, error = annealed(b, c, torch.zeros(3, 4), b, StreamNoise(0, 5), 3)
    assert value == pytest.approx(enumerated(b, c, torch.zeros(3, 4)), abs=1e-5)
    assert error < 1e-6


def test_a_normaliser_follows_the_weights_and_the_seed():
    torch.manual_seed(0)
    model = RBM({"event_shape": [20], "hidden": 14})
    with torch.no_grad():
        model.weight.mul_(60)
    first = model.log_z(0, 20, 100)
    assert model.log_z(0, 20, 100) is first, "it is measured once"
    assert model.log_z(1, 20, 100) != first
    with torch.no_grad():
        model.hidden_bias.add_(1)
    assert model.log_z(0, 20, 100).value > first.value
    x = model.sample(IndexedNoise(0, 3), steps=5)
    options = {"chains": 20, "temperatures": 100}
    with torch.no_grad():
        gap = model.score(x).double() - model.log_prob(x, noise=IndexedNoise(1, 3), **options)
    assert torch.allclose(gap, torch.tensor(model.log_z(1, 20, 100).value).double(), atol=1e-4)


def bars(noise):
    """3x3 images of which each column is black or white, but for a tenth of the pixels."""

    column = noise.integers(2, 1, 1, 3).float() * 2 - 1
    return column * torch.where(noise.uniform(1, 3, 3) < 0.1, -1.0, 1.0)


def test_persistent_chains_learn_bars(step):
    torch.manual_seed(0)
    model = RBM({"event_shape": [1, 3, 3], "hidden": 8, "range": [-1, 1]})
    phase = PersistentContrastiveDivergence(model, PersistentContrastiveDivergence.Options(init_batches=5))
    training = step(phase, bars, 512, 0.05).go(200)
    training.optimizers["model"].param_groups[0]["lr"] = 0.01
    training.go(150)
    x = states(9).view(-1, 1, 3, 3)
    white = x.sum(2).flatten(1)
    log_p = torch.logaddexp(*(k * math.log(0.9) + (3 - k) * math.log(0.1) for k in (white, 3 - white))).sum(1)
    log_p = (log_p - 3 * math.log(2)).double()
    with torch.no_grad():
        divergence = float((log_p.exp() * (log_p - model.log_prob(2 * x - 1).double())).sum())
    assert 0 <= divergence < 0.15, "it starts with one of 1.2 nats"
    again = PersistentContrastiveDivergence(model, phase.options)
    again.restore(phase.state())
    assert torch.equal(again.states, phase.states)


def test_bad_data_and_ranges_are_refused(machine):
    with pytest.raises(DataError, match="datum 1 has values other than 0 and 1") as e:
        machine.log_prob(torch.stack([torch.zeros(1, 3, 3), torch.full((1, 3, 3), 0.5)]))
    assert "mnist-binary" in e.value.hint
    with pytest.raises(DataError, match="datum 0"):
        machine.log_prob(torch.full((1, 1, 3, 3), torch.nan))
    with pytest.raises(RegistryError, match="the lower end comes first"):
        RBM({"range": [1, 0]})


def test_the_recipe_starts_to_learn_at_once(tmp_path, monkeypatch):
    try:
        open_data("mnist-binary")
    except DataError:
        pytest.skip("MNIST is not here")
    monkeypatch.chdir(tmp_path)
    folder = dgmcore.train(
        ROOT / "recipes/rbm-mnist.yaml", set=["phases.0.steps=60", "phases.0.options.init_batches=20"]
    )
    model = dgmcore.load(folder)
    options = {"chains": 10, "temperatures": 50}
    mean = dgmcore.score(model, "mnist-binary:test", options=options, batch_size=2000).mean
    assert -206 < mean < -120, "better than pixels drawn one by one with the data's means"
    (found,) = dgmcore.evaluate(folder, ["log-normaliser"], **options)
    assert found.interval == pytest.approx((found.value - 1.96 * found.std, found.value + 1.96 * found.std))
    assert found.std > 0 and "10 chains of 50 temperatures" in found.unit


# --- stacks ---------------------------------------------------------------------------------------


@pytest.fixture
def stack():
    torch.manual_seed(0)
    lower, upper = (
        RBM({"event_shape": [1, 3, 3], "hidden": 6}),
        RBM({"event_shape": [6], "hidden": 4, "range": [-1, 1]}),
    )
    with torch.no_grad():
        for parameter in [*lower.parameters(), *upper.parameters()]:
            parameter.copy_(1.2 * torch.randn_like(parameter))
    return StackedRBM(lower=lower, upper=upper)


def summed(stack):
    """Probabilities of all images of a stack by the definition: a sum over all hidden units of the lower machine."""

    h, v = states(6), states(9).double()
    with torch.no_grad():
        prior = stack.upper.log_prob(2 * h - 1).double()
        p = torch.sigmoid(stack.lower.visible_bias + h @ stack.lower.weight.T).double()
    given = (v * p.log()[:, None] + (1 - v) * (1 - p).log()[:, None]).sum(2)
    return (prior[:, None] + given).logsumexp(0)


def test_a_stack_bounds_its_probabilities_from_below_and_closer_with_more_draws(stack):
    right = summed(stack)
    assert right.exp().sum() == pytest.approx(1, abs=1e-5)
    x = states(9).view(-1, 1, 3, 3)
    with torch.no_grad():
        gaps = [
            float((right.exp() * (right - stack.log_prob(x, noise=StreamNoise(0, 512), k=k).double())).sum())
            for k in (1, 10, 1000)
        ]
    assert gaps[0] > gaps[1] > gaps[2] > 0 and gaps[2] < gaps[0] / 4, gaps
    with torch.no_grad():
        estimate = torch.stack([stack.log_prob(x, noise=StreamNoise(seed, 512)).double() for seed in range(300)])
    ratio = float((estimate.exp().mean(0) / right.exp()).mean())
    assert ratio == pytest.approx(1, abs=0.1), "the probability itself is estimated without bias"


def test_a_stack_draws_by_its_probabilities(stack):
    n = 4000
    x = stack.sample(IndexedNoise(0, n), steps=60)
    counts = torch.bincount((x.flatten(1) @ (2.0 ** torch.arange(8, -1, -1))).long(), minlength=512).double()
    due = n * summed(stack).exp()
    often = due >= 5
    seen, due = torch.cat([counts[often], counts[~often].sum()[None]]), torch.cat([due[often], due[~often].sum()[None]])
    chi, freedom = float(((seen - due).square() / due).sum()), len(due) - 1
    assert chi < freedom + 5 * math.sqrt(2 * freedom), (chi, freedom)


def test_training_a_stack_moves_the_machine_on_top_and_improves_the_whole(step):
    torch.manual_seed(0)
    lower = RBM({"event_shape": [1, 3, 3], "hidden": 6, "range": [-1, 1]})
    first = step(PersistentContrastiveDivergence(lower, PersistentContrastiveDivergence.Options()), bars, 512, 0.05)
    first.go(150)
    before = {name: tensor.clone() for name, tensor in lower.state_dict().items()}
    middle, top = RBM({"event_shape": [6], "hidden": 8}), RBM({"event_shape": [8], "hidden": 6})
    upper = StackedRBM(lower=middle, upper=top)
    x = states(9).view(-1, 1, 3, 3) * 2 - 1
    white = (x > 0).double().sum(2).flatten(1)
    log_p = torch.logaddexp(*(k * math.log(0.9) + (3 - k) * math.log(0.1) for k in (white, 3 - white))).sum(1)
    p = (log_p - 3 * math.log(2)).exp()

    def bound(model):
        with torch.no_grad():
            return float((p * model.log_prob(x, noise=StreamNoise(3, 512), k=50).double()).sum())

    stack = StackedRBM(lower=lower, upper=middle)
    untrained = bound(stack)
    step(PersistentContrastiveDivergence(stack, PersistentContrastiveDivergence.Options()), bars, 512, 0.02).go(200)
    trained = bound(stack)
    assert trained > untrained + 0.3, (untrained, trained)
    assert all(torch.equal(tensor, before[name]) for name, tensor in lower.state_dict().items())
    deep = StackedRBM(lower=lower, upper=upper)
    assert deep.top is top and deep.up(x, StreamNoise(0, 512)).shape == (512, 8)


def test_stacks_of_what_does_not_fit_are_refused(machine):
    with pytest.raises(UsageError, match="for 4 units, not for the 5 hidden units below") as e:
        StackedRBM(lower=machine, upper=RBM({"event_shape": [4], "hidden": 3}))
    assert "[5]" in e.value.hint
