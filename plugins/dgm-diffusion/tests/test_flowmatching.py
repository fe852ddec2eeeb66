"""Flow matching against closed forms, its couplings against brute force, and what is refused."""

from __future__ import annotations

import itertools

import pytest
import torch
from closed_forms import MEAN, STD, Velocity, assert_gaussian, normal_log_prob
from dgm_diffusion.flowmatching.couplings import transport
from dgm_diffusion.flowmatching.distillation import Distill
from dgm_diffusion.flowmatching.model import FlowMatching
from dgm_diffusion.flowmatching.phases import Match
from dgm_diffusion.flowmatching.student import FlowStudent
from scipy.optimize import linear_sum_assignment

from dgmcore.errors import DgmError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks


@parametrize_with_checks(["flowmatching"])
def test_conformance(check):
    check()


def ideal(classes: int = 0, shift: float = 1.0) -> FlowMatching:
    model = FlowMatching({"classes": classes}).eval()
    model.network = Velocity(shift)
    return model


SOLVERS = [("euler", 200, 0.02), ("midpoint", 20, 0.01), ("heun", 20, 0.01), ("rk4", 10, 0.01), ("dopri5", 1, 0.01)]


@pytest.mark.parametrize(("solver", "steps", "tolerance"), SOLVERS)
def test_every_solver_draws_the_data(solver, steps, tolerance):
    x = ideal().sample(IndexedNoise(0, 6000), solver=solver, steps=steps)
    assert_gaussian(x, tolerance)


def test_the_velocity_is_the_one_that_matching_looks_for():
    model = ideal()
    phase = Match(model, Match.Options())
    x = MEAN + STD * IndexedNoise(5, 20_000).normal(2)
    best = phase.losses(x, StreamNoise(0, len(x))).mean()
    for move in (0.2, -0.2):
        model.network.register_forward_hook(lambda m, i, out, move=move: out + move)
        assert phase.losses(x, StreamNoise(0, len(x))).mean() > best + 0.5 * move**2
        model.network._forward_hooks.clear()


@pytest.mark.parametrize("options", [{}, {"solver": "dopri5"}, {"probes": 2}, {"solver": "midpoint", "steps": 100}])
def test_the_density_is_that_of_the_data(options):
    x = MEAN + STD * IndexedNoise(3, 200).normal(2)
    got = ideal().log_prob(x, **options)  # the Jacobian is a multiple of 1, for which any probe is exact
    assert torch.allclose(got, normal_log_prob(x), atol=2e-3)


def test_decode_inverts_encode():
    torch.manual_seed(0)  # of the weights: the midpoint method is as exact as the velocity is smooth
    model = FlowMatching(FlowMatching.example).eval()
    x = IndexedNoise(0, 5).normal(2)
    with torch.no_grad():
        assert torch.allclose(model.encode(model.decode(x)), x, atol=1e-3)


def test_an_adaptive_solver_depends_on_the_batch_by_its_tolerance_only():
    whole = ideal().sample(IndexedNoise(0, 8), solver="dopri5")
    parts = [ideal().sample(IndexedNoise(0, 4, start), solver="dopri5") for start in (0, 4)]
    assert torch.allclose(whole, torch.cat(parts), atol=1e-4)


# --- couplings -------------------------------------------------------------------------------------


def cost(x, y, order):
    return float((x[torch.as_tensor(list(order))] - y).square().sum())


def test_transport_is_the_cheapest_of_all_orders():
    x, y = IndexedNoise(0, 6).normal(2), IndexedNoise(1, 6).normal(2)
    best = min(itertools.permutations(range(6)), key=lambda order: cost(x, y, order))
    assert transport(x, y).tolist() == list(best)


def test_transport_of_images_keeps_classes_together():
    x, y = IndexedNoise(0, 8).normal(1, 4, 4), IndexedNoise(1, 8).normal(1, 4, 4)
    labels = torch.tensor([0, 1, 0, 1, 1, 0, 0, 1])
    order = transport(x, y, labels)
    assert sorted(order.tolist()) == list(range(8))
    assert torch.equal(labels[order], labels), "noise changed its class"
    assert cost(x, y, transport(x, y)) <= cost(x, y, order) <= cost(x, y, range(8))


def test_transport_makes_paths_straighter():
    phase = Match(FlowMatching(), Match.Options(coupling="ot"))
    plain = Match(FlowMatching(), Match.Options())
    x = MEAN + STD * IndexedNoise(5, 256).normal(2)
    lengths = []
    for p in (phase, plain):
        p.model.network = torch.nn.Module()
        p.model.network.forward = lambda x, t: torch.zeros_like(x)  # the loss is then the mean length squared
        lengths.append(float(p.losses(x, StreamNoise(0, 256)).mean()))
    assert lengths[0] < 0.6 * lengths[1]


# --- classes ---------------------------------------------------------------------------------------


def test_labels_are_repeated_over_samples_whatever_the_batch():
    model = ideal(classes=4, shift=10.0)
    whole = model.sample(IndexedNoise(0, 7), label=(0, 3, 1))
    assert ((whole[:, 0] - MEAN[0]) / 10).round().tolist() == [0, 3, 1, 0, 3, 1, 0]
    parts = [model.sample(IndexedNoise(0, n, start), label=(0, 3, 1)) for start, n in ((0, 2), (2, 1), (3, 4))]
    assert torch.allclose(torch.cat(parts), whole, atol=1e-4)
    assert torch.allclose(
        model.sample(IndexedNoise(0, 1, 5), label=1), whole[5:6] + torch.tensor([[0.0, 0.0]]), atol=1e-3
    )


def test_guidance_of_0_sees_no_label_and_of_1_is_the_label_itself():
    torch.manual_seed(0)
    model = FlowMatching({**FlowMatching.example, "classes": 3}).eval()
    x, t = IndexedNoise(0, 5).normal(2), torch.tensor(0.3)
    labels = torch.tensor([0, 1, 2, 0, 1])
    none, own = model.velocity(x, t), model.velocity(x, t, labels)
    assert not torch.allclose(none, own)
    assert torch.equal(model.velocity(x, t, labels, 0.0), none)
    assert torch.equal(model.velocity(x, t, labels, 1.0), own)
    assert torch.allclose(model.velocity(x, t, labels, 2.5), none + 2.5 * (own - none), atol=1e-6)
    assert torch.allclose(model.velocity(x, t.expand(5), labels, 2.5), model.velocity(x, t, labels, 2.5), atol=1e-6)
    same = model.sample(IndexedNoise(0, 5)), model.sample(IndexedNoise(0, 5), label=2, guidance=0.0)
    assert torch.equal(*same)


def test_the_density_of_a_class_is_its_own():
    model = ideal(classes=2, shift=1.0)
    x = MEAN + STD * IndexedNoise(3, 50).normal(2)
    assert torch.allclose(model.log_prob(x, label=1), normal_log_prob(x, MEAN + 1), atol=2e-3)
    mixed = model.log_prob(x, label=(0, 1))
    assert torch.allclose(mixed[::2], normal_log_prob(x[::2]), atol=2e-3)
    assert torch.allclose(mixed[1::2], normal_log_prob(x[1::2], MEAN + 1), atol=2e-3)


def test_a_network_learns_with_labels_and_without():
    """The share `drop_label` of labels is hidden, so with all of them hidden no label moves the loss."""
    torch.manual_seed(0)
    model = FlowMatching({**FlowMatching.example, "classes": 3})
    x = IndexedNoise(0, 8).normal(2)
    losses = {}
    for share in (0.0, 1.0):
        phase = Match(model, Match.Options(drop_label=share))
        losses[share] = [phase.losses(x, StreamNoise(0, 8), torch.full((8,), k)) for k in range(3)]
    assert not torch.allclose(losses[0.0][0], losses[0.0][1])
    assert torch.equal(losses[1.0][0], losses[1.0][1])


@pytest.mark.parametrize(
    ("classes", "options", "says"),
    [
        (3, {"label": 3}, "there is no class 3"),
        (3, {"label": -1}, "label: expected `int` >= 0"),
        (3, {"label": (0, 7)}, "there is no class 7"),
        (3, {"label": ()}, "the list of labels is empty"),
        (0, {"label": 0}, "knows no classes"),
        (3, {"label": "shoe"}, "label"),
        (3, {"label": 1.5}, "label"),
        (3, {"label": True}, "label"),
        (3, {"guidance": -1.0}, "guidance"),
        (3, {"guidance": float("nan")}, "guidance"),
        (0, {"steps": 0}, "steps"),
        (0, {"steps": -1}, "steps"),
        (0, {"steps": 10**9}, "steps"),
        (0, {"solver": "rk45"}, "solver"),
        (0, {"solver": "dopri5", "tolerance": 0.0}, "tolerance"),
    ],
)
def test_options_that_are_refused(classes, options, says):
    model = FlowMatching({**FlowMatching.example, "classes": classes}).eval()
    with pytest.raises(DgmError, match=says) as e:
        model.sample(IndexedNoise(0, 2), **options)
    assert e.value.hint


def test_a_label_on_the_command_line(tmp_path, monkeypatch, capfd):
    import numpy as np

    from dgmcore.cli import main
    from dgmcore.entry import Data
    from dgmcore.model import save

    torch.manual_seed(0)
    model = FlowMatching({**FlowMatching.example, "classes": 3})
    with torch.no_grad():
        model.network.labels.weight.mul_(20)
    data = Data(dataset="moons", event_shape=(2,))
    folder = str(save(model, tmp_path / "tiny", name="tiny", license="MIT", data=data, architecture="flowmatching"))
    monkeypatch.chdir(tmp_path)
    drawn = {}
    for label in ("0", "2", "[0, 2]"):
        assert main(["sample", folder, "-n", "4", "--set", f"label={label}", "--out", "x.npy"]) in (0, None)
        drawn[label] = np.load("x.npy")
    assert not np.allclose(drawn["0"], drawn["2"])
    assert np.allclose(drawn["[0, 2]"], np.stack([drawn[k][i] for i, k in enumerate(("0", "2", "0", "2"))]), atol=1e-5)
    capfd.readouterr()
    assert main(["sample", folder, "--set", "label=3"]) not in (0, None)
    error = capfd.readouterr().err.strip().splitlines()
    assert len(error) == 2 and error[0].startswith("error: there is no class 3") and error[1].startswith("hint: ")
    assert main(["score", folder, "moons:test", "--set", "label=9"]) not in (0, None)
    assert "there is no class 9" in capfd.readouterr().err


# --- students --------------------------------------------------------------------------------------


@parametrize_with_checks(["flow-student"])
def test_conformance_of_students(check):
    check()


class TrialStep:
    """What a phase asks of a step, with Adam behind it."""

    device = torch.device("cpu")
    index = 0

    def __init__(self, phase, rate):
        self.optimizer = torch.optim.Adam(phase.parameters()["model"], rate)

    def batch(self):
        return torch.zeros(256, 2)

    def noise(self, n):
        return StreamNoise(0, n, scope=f"{self.index}")

    def log(self, **values):
        pass

    def minimize(self, loss):
        self.loss = float(loss.detach())
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def test_a_students_pool_is_what_the_teacher_draws():
    student = FlowStudent({"classes": 2, "times": [0.0, 0.3, 1.0]})
    student.network = Velocity(1.0)
    phase = Distill(student, Distill.Options(pool=100, steps=40))
    step = TrialStep.__new__(TrialStep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FlowMatching, "load_state_dict", lambda self, state: setattr(self, "network", student.network))
        phase.setup(step)
    assert phase.pool.shape == (100, 3, 2)
    noise, middle, end = phase.pool.float().unbind(1)
    mean = MEAN + (torch.arange(100) % 2)[:, None]
    assert torch.allclose(end, mean + STD * noise, atol=5e-3), "a Gaussian flow is linear"
    deviation = (0.7**2 + (0.3 * STD) ** 2) ** 0.5
    assert torch.allclose(middle, 0.3 * mean + deviation * noise, atol=5e-3)


def test_a_student_learns_in_one_step_what_its_teacher_does_in_many():
    torch.manual_seed(0)
    student = FlowStudent({"network": {"kind": "mlp", "width": 32, "depth": 1}, "times": [0.0, 1.0]})
    phase = Distill(student, Distill.Options(pool=512))
    step = TrialStep(phase, 3e-3)
    with torch.autocast("cpu", torch.bfloat16):  # as with precision: bf16; the teacher is asked without
        phase.setup(step)
    losses = []
    for step.index in range(200):
        phase.step(step)
        losses.append(step.loss)
    assert losses[-1] < 0.1 * losses[0]
    again = Distill(student, Distill.Options(pool=512))
    again.restore(phase.state())
    assert torch.equal(again.pool, phase.pool), "a run that goes on has its pool"


@pytest.mark.parametrize("times", [[0.0], [0.0, 0.5], [0.1, 1.0], [0.0, 0.7, 0.7, 1.0], [0.0, float("nan"), 1.0]])
def test_times_of_a_student_that_are_refused(times):
    with pytest.raises(DgmError, match=r"increase from 0 to 1|times.*expected"):
        FlowStudent({"times": times})


@pytest.mark.parametrize(("n", "d"), [(1, 2), (256, 2), (32, 784)])
def test_the_coupling_is_the_best_assignment(n, d):
    x, y = (IndexedNoise(seed, n).normal(d) for seed in (0, 1))
    y[0] += 1e4  # one far away leaves the others theirs
    _, best = linear_sum_assignment(torch.cdist(x.double(), y.double()).square().numpy())
    assert torch.equal(transport(x, y)[torch.from_numpy(best)], torch.arange(n))
