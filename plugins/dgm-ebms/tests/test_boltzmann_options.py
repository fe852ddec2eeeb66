"""What each option of Boltzmann machines and of their training does."""

from __future__ import annotations

import pytest
import torch
from dgm_ebms.rbm import RBM, heats
from dgm_ebms.stacked import StackedRBM
from dgm_ebms.training import (
    PersistentContrastiveDivergence,
)

from dgmcore import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise

N = 4000


def noise(n=N, seed=0):
    return IndexedNoise(seed, n)


# --- Boltzmann machines ------------------------------------------------------------------------------


def phase_of(kind, model, **options):
    return kind(model, kind.Options(**options))


def machine(**config):
    torch.manual_seed(0)
    return RBM({"event_shape": [1, 3, 3], "hidden": 5, **config})


def bits(n=400):
    return (StreamNoise(0, n, scope="bits").uniform(1, 3, 3) < torch.linspace(0.1, 0.9, 9).view(1, 3, 3)).float()


@pytest.mark.parametrize("batches", [0, 1, 4])
def test_visible_biases_start_at_the_logits_of_the_means(recorder, batches):
    phase = phase_of(PersistentContrastiveDivergence, machine(), init_batches=batches)
    phase.setup(step := recorder(bits()))
    assert step.batches == batches
    want = bits().mean(0).flatten().logit() if batches else torch.zeros(9)
    assert torch.allclose(phase.machine.visible_bias, want, atol=1e-5) and torch.allclose(phase.machine.base, want)


def test_pixels_that_never_change_have_bounded_biases(recorder):
    phase = phase_of(PersistentContrastiveDivergence, machine(), init_batches=1)
    phase.setup(recorder(torch.ones(5, 1, 3, 3)))
    assert torch.allclose(phase.machine.visible_bias, torch.tensor(0.999).logit())


@pytest.mark.parametrize(("chains", "steps"), [(None, 1), (7, 1), (20, 6)])
def test_chains_never_restart_and_make_their_steps(monkeypatch, recorder, chains, steps):
    phase, seen = phase_of(PersistentContrastiveDivergence, machine(), chains=chains, steps=steps), []
    gibbs = phase.machine.gibbs
    monkeypatch.setattr(phase.machine, "gibbs", lambda v, *rest: seen.append((v, rest[-1])) or gibbs(v, *rest))
    phase.step(step := recorder(bits()))
    kept = phase.states
    step.index = 1
    phase.step(step)
    assert [len(v) for v, _ in seen] == [chains or 400] * 2 and [n for _, n in seen] == [steps] * 2
    assert seen[1][0] is kept and set(phase.states.unique().tolist()) <= {0.0, 1.0}


def test_ranges_are_the_two_levels():
    model = machine(range=[-1, 3])
    x = model.sample(noise(50), steps=3)
    assert set(x.unique().tolist()) == {-1.0, 3.0} and (model.data_range, model.data_levels) == ((-1.0, 3.0), 2)
    assert torch.equal(model.places(x), ((x + 1) / 4).flatten(1))
    assert len(list(machine().trajectory(noise(2), steps=4))) == 1 + 4


def test_chains_start_at_the_means_of_the_data():
    model = machine()
    model.base.copy_(torch.linspace(-3, 3, 9))
    start = next(model.trajectory(noise(), steps=1))
    assert torch.allclose(start.mean(0).flatten(), model.base.sigmoid(), atol=0.03)


@pytest.mark.parametrize("steps", [1, 4, 1000])
def test_temperatures_go_from_0_to_1_and_lie_closer_towards_1(steps):
    betas = torch.tensor(heats(steps), dtype=torch.float64)
    assert len(betas) == steps + 1 and (float(betas[0]), float(betas[-1])) == (0.0, 1.0)
    gaps = betas.diff()
    assert torch.allclose(gaps.diff(), torch.full((steps - 1,), -2 / steps**2, dtype=torch.float64)), "linearly"


def test_a_stack_is_a_model_of_the_lower_machines_pixels():
    upper = RBM({"event_shape": [5], "hidden": 4, "range": [-2, 2]})
    lower = machine(range=[-1, 1])
    stack = StackedRBM(lower=lower, upper=upper)
    assert stack.event_shape == (1, 3, 3) and stack.data_range == (-1.0, 1.0) and stack.data_levels == 2
    assert stack.top is upper and set(stack.sample(noise(30), steps=2).unique().tolist()) <= {-1.0, 1.0}
    assert set(stack.up(2 * bits(30) - 1, noise(30)).unique().tolist()) <= {-2.0, 2.0}
    three = StackedRBM(lower=machine(hidden=9, event_shape=[4]), upper=stack)
    assert three.top is upper and three.up(torch.ones(6, 4), noise(6)).shape == (6, 5)


def test_hidden_units_are_drawn_with_their_probabilities():
    lower = machine()
    lower.weight.data.mul_(100)
    stack = StackedRBM(lower=lower, upper=RBM({"event_shape": [5], "hidden": 4}))
    x = bits(1).expand(N, -1, -1, -1)
    p = torch.sigmoid(lower.hidden_bias + x[:1].flatten(1) @ lower.weight)
    assert torch.allclose(stack.up(x, noise()).mean(0), p[0], atol=0.04)
