"""What each option of flow matching, of students and of bridges does."""

from __future__ import annotations

import math

import pytest
import torch
from closed_forms import MEAN, STD, Says, Velocity
from dgm_diffusion.ddpm import DDPM
from dgm_diffusion.ddpmflow import SIGNAL, ProbabilityFlow
from dgm_diffusion.flowmatching.distillation import Distill
from dgm_diffusion.flowmatching.model import FlowMatching
from dgm_diffusion.flowmatching.phases import Match
from dgm_diffusion.flowmatching.student import FlowStudent
from dgm_diffusion.schroedinger.models import DataBridge, GaussianBridge
from dgm_diffusion.schroedinger.phases import ProportionalFitting
from dgm_diffusion.training import spread

from dgmcore import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise

N = 2000
X = StreamNoise(7, N, scope="data").normal(2)
SMALL = {"network": {"kind": "mlp", "width": 8, "depth": 1}}


# --- flow matching, students, bridges, flows of DDPM -------------------------------------------------


def known_matching():
    model = FlowMatching(SMALL).eval()
    model.network = Velocity()
    return model


def test_the_matching_loss_is_that_of_the_straight_line():
    model = FlowMatching(SMALL)
    model.network = Says(0.0)
    phase, noise = Match(model, Match.Options()), StreamNoise(0, N)
    loss = phase.losses(X, StreamNoise(0, N))
    start, t = noise.normal(2), spread(noise, X)
    assert torch.allclose(loss, (X - start).square().mean(1))
    seen, times, _ = model.network.seen[0]
    assert torch.allclose(times, 1000 * t) and torch.allclose(seen, start + t[:, None] * (X - start), atol=1e-5)


def test_flow_matching_takes_the_steps_and_the_solver_that_are_asked():
    model = known_matching()
    noise = lambda: IndexedNoise(0, 30)  # noqa: E731
    assert len(list(model.trajectory(noise()))) == 21 and len(list(model.trajectory(noise(), steps=3))) == 4
    assert torch.equal(model.sample(noise()), model.sample(noise(), solver="midpoint", steps=20))
    loose = model.sample(noise(), solver="dopri5", tolerance=0.1)
    tight = model.sample(noise(), solver="dopri5", tolerance=1e-8)
    default = model.sample(noise(), solver="dopri5")
    assert (default - tight).abs().max() < 1e-4 < (loose - tight).abs().max()
    x = MEAN + STD * X[:20]
    assert torch.equal(model.log_prob(x), model.log_prob(x, solver="rk4", steps=40))


@pytest.mark.parametrize(("pool", "steps", "solver"), [(None, None, None), (10, 4, "euler")])
def test_a_pool_holds_what_is_asked(monkeypatch, recorder, pool, steps, solver):
    student = FlowStudent({**SMALL, "times": [0.0, 0.25, 1.0]})
    said = {k: v for k, v in {"pool": pool, "steps": steps, "solver": solver}.items() if v is not None}
    phase, seen = Distill(student, Distill.Options(**said)), []
    import dgm_diffusion.flowmatching.distillation as module

    monkeypatch.setattr(module, "solve", lambda f, x, grid, s: seen.append((len(grid) - 1, s)) or iter([x]))
    phase.setup(recorder(X))
    assert phase.pool.shape == (pool or 1024, 3, 2)
    n = steps or 16
    assert seen[:2] == [(n // 4, solver or "heun"), (n * 3 // 4, solver or "heun")]


def test_a_teacher_is_guided_as_asked(monkeypatch, recorder):
    for weight in (None, 3.0):
        student = FlowStudent({**SMALL, "classes": 4})
        phase = Distill(student, Distill.Options(pool=8, **({} if weight is None else {"guidance": weight})))
        seen = []
        velocity = FlowMatching.velocity
        monkeypatch.setattr(
            FlowMatching,
            "velocity",
            lambda self, x, t, labels=None, guidance=1.0, f=velocity, seen=seen: (
                seen.append((labels, guidance)) or f(self, x, t, labels, guidance)
            ),
        )
        phase.setup(recorder(X))
        monkeypatch.undo()
        assert {g for _, g in seen} == {weight or 1.0} and seen[0][0].tolist()[:6] == [0, 1, 2, 3, 0, 1]


def test_bridges_end_where_they_are_told():
    for said, mean, std in (({}, 0.0, 1.0), ({"prior_mean": 3.0, "prior_std": 0.25}, 3.0, 0.25)):
        model = GaussianBridge({**SMALL, **said})
        x = model.prior_points(IndexedNoise(0, N), "test")
        assert abs(float(x.mean()) - mean) < 0.06 and abs(float(x.std()) - std) < 0.05
        z = IndexedNoise(1, 5).normal(2)
        model.velocity = lambda x, k: torch.zeros_like(x)
        assert torch.allclose(model.decode(z), mean + std * z) and torch.allclose(
            model.encode(model.decode(z)), z, atol=1e-5
        )
        far = torch.distributions.Normal(mean, std).log_prob(x[:5]).sum(1)
        model.velocity = lambda x, k: 0.0 * x
        assert torch.allclose(model.log_prob(x[:5]), far, atol=1e-4)


@pytest.mark.parametrize(("kind", "ends"), [(GaussianBridge, "one"), (DataBridge, "both")])
@pytest.mark.parametrize("ratio", [1.0, 50.0])
def test_steps_are_short_at_the_ends_of_data(kind, ends, ratio):
    gammas = kind({**SMALL, "steps": 11, "ratio": ratio}).gammas
    assert float(gammas.sum()) == pytest.approx(1.0) and len(gammas) == 11
    assert float(gammas.max() / gammas.min()) == pytest.approx(ratio, rel=0.01)
    assert (gammas.diff()[:5] >= 0).all() and (
        (gammas.diff()[6:] <= 0).all() if ends == "both" else (gammas.diff() >= 0).all()
    )


@pytest.mark.parametrize("floor", [None, 0.0, 0.5])
def test_rates_fall_by_a_cosine_to_their_floor(recorder, floor):
    model = GaussianBridge({**SMALL, "steps": 2})
    said = {} if floor is None else {"floor": floor}
    phase = ProportionalFitting(model, ProportionalFitting.Options(half=4, **said))
    rates = []
    for index in range(9):
        step = recorder(X[:4], index=index)
        groups = {name: [{"lr": 1.0}] for name in phase.optimizers}
        step.optimizer = lambda name, groups=groups: type("Adam", (), {"param_groups": groups[name]})
        phase.step(step)
        (learns,) = step.losses
        rates.append((learns, groups[learns][0]["lr"], sum(g[0]["lr"] != 1.0 for g in groups.values())))
    low = 0.05 if floor is None else floor
    fall = [low + (1 - low) * 0.5 * (1 + math.cos(math.pi * k / 4)) for k in range(4)]
    assert [r for _, r, _ in rates] == pytest.approx([*fall, *fall, 1.0])
    assert [n for n, _, _ in rates] == ["backward"] * 4 + ["onward"] * 4 + ["backward"]


def test_variances_are_fitted_by_a_running_mean():
    for variances, moves in (("fitted", True), ("reference", False)):
        model = GaussianBridge({**SMALL, "steps": 3, "sigma": 2.0, "variances": variances})
        phase = ProportionalFitting(model, ProportionalFitting.Options())
        phase.kept = phase.chains("to-prior", X[:50], StreamNoise(0, 50))
        before = model.factors.clone()
        phase.losses("to-prior", StreamNoise(1, 50))
        assert bool((model.factors != before).any()) is moves
    model.factors.fill_(1.0)
    phase.fit("to-data", torch.tensor([8.0, 2.0]), torch.tensor([1, 1]))
    want = 1.0 + 0.02 * (5.0 * float(model.gammas[0]) / 4.0 - 1.0)
    assert float(model.factors[0, 0]) == pytest.approx(want) and (model.factors.flatten()[1:] == 1).all()


def test_the_flow_of_a_ddpm_starts_where_there_is_signal():
    base = DDPM({**SMALL, "schedule": {"steps": 20, "name": "cosine"}, "prediction": "v"}).eval()
    flow = ProbabilityFlow(base=base)
    angles = flow.angles(torch.zeros(1, dtype=torch.float64))
    kept = base.alpha_bar[base.alpha_bar >= SIGNAL].double()
    assert torch.allclose(angles.cos().square(), kept, atol=1e-6) and (angles.diff() > 0).all()
    assert flow.grid(None, angles).shape == angles.shape
    grid = flow.grid(4, angles)
    assert len(grid) == 5 and float(grid[0]) == float(angles[0]) and float(grid[-1]) == float(angles[-1])
    base.network = Says(0.5)
    assert torch.allclose(flow.velocity(X[:3], angles[4].float()), torch.full((3, 2), 0.5), atol=1e-5), "it says v"
