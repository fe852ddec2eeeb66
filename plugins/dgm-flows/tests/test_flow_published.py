"""Real NVP and OT-Flow as published: sizes, order of layers, signs, and the published weights' figures."""

from __future__ import annotations

import argparse

import numpy as np
import pytest
import torch
from dgm_flows.otflow import OTFlow, Potential
from dgm_flows.realnvp import RealNVP
from flow_references import PlainOTFlow, PlainRealNVP, random_otflow_state

import dgmcore
from dgmcore.conversion.converters import convert
from dgmcore.data import open_data
from dgmcore.errors import DgmError


@pytest.fixture(scope="module")
def moons():
    """20,000 points of the test split: independent of all training points."""
    return open_data("moons:test").take(np.arange(20_000))


def integral(model, low, high, n=250, **options):
    axes = [torch.linspace(a, b, n) for a, b in zip(low, high, strict=True)]
    with torch.no_grad():
        density = model.log_prob(torch.cartesian_prod(*axes), **options).double().exp()
    return density.sum().item() * np.prod([(b - a) / (n - 1) for a, b in zip(low, high, strict=True)])


def test_the_published_sizes():
    assert RealNVP().num_parameters() == 205_848
    assert OTFlow().num_parameters() == 1_229


def test_layers_keep_coordinates_by_parity():
    model = RealNVP({"dim": 5, "layers": 2}).double()
    y = torch.randn(4, 5, dtype=torch.float64)
    first, second = model.couplings()
    changed = [(coupling(y) != y).any(0).tolist() for coupling in (first, second)]
    assert changed[0] == [False, True, False, True, False]
    assert changed[1] == [True, False, True, False, True]


@pytest.fixture
def realnvp_file(tmp_path):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        plain = PlainRealNVP(layers=4, hidden=16)
        for p in plain.parameters():
            p.data.mul_(1.5)
    torch.save(plain.state_dict(), tmp_path / "realnvp.pt", _use_new_zipfile_serialization=False)
    return tmp_path / "realnvp.pt", plain.double()


def test_real_nvp_equals_an_independent_writing(realnvp_file, tmp_path):
    file, plain = realnvp_file
    model = dgmcore.load(convert([file], "copy", format="rh-realnvp", out=tmp_path), dtype="float64")
    x = torch.randn(50, 2, dtype=torch.float64)
    with torch.no_grad():
        z, log_prob = plain.log_prob(x)
        assert torch.allclose(model.encode(x), z, atol=1e-10)
        assert torch.allclose(model.log_prob(x), log_prob, atol=1e-10)
        assert torch.allclose(model.decode(x), plain.decode(x), atol=1e-10)
    assert model.entry.license == "MIT"


@pytest.mark.parametrize("form", ["rh-otflow", "otflow"])
@pytest.mark.parametrize("layers", [2, 4])
def test_otflow_equals_an_independent_writing(form, layers, tmp_path):
    state = random_otflow_state(dim=3, width=12, layers=layers)
    args = argparse.Namespace(alph=[1.0, 30.0, 15.0], nt_val=5, data="swissroll", m=12, prec="double")
    torch.save({"state_dict": state, "args": args} if form == "otflow" else state, tmp_path / "flow.pth")
    folder = convert([tmp_path / "flow.pth"], "copy", format=form, out=tmp_path, steps=5)
    model = dgmcore.load(folder, dtype="float64")
    x = torch.randn(20, 3, dtype=torch.float64)
    z, log_prob = PlainOTFlow(state).log_prob(x, steps=5)
    with torch.no_grad():
        assert torch.allclose(model.encode(x), z, atol=1e-4)
        assert torch.allclose(model.log_prob(x), log_prob, atol=1e-4)
    assert model.entry.data.dataset == ("swissroll" if form == "otflow" else "moons")


def test_the_potential_has_the_gradient_and_trace_that_autograd_finds():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        potential = Potential(dim=3, width=8, layers=3).double()
        for p in potential.parameters():
            p.data.add_(torch.randn_like(p), alpha=0.3)
    x, t = torch.randn(6, 3, dtype=torch.float64), 0.3
    s = torch.cat([x, torch.full((6, 1), t, dtype=torch.float64)], 1).requires_grad_()
    (gradient,) = torch.autograd.grad(potential(s).sum(), s)
    hessian = [torch.autograd.functional.hessian(lambda v: potential(v[None])[0], row.detach()) for row in s]
    prepared = potential.prepare(trace=True)
    by_x, by_t, trace = prepared.all(x, t)
    assert torch.allclose(by_x, gradient[:, :3], atol=1e-12)
    assert torch.allclose(by_t, gradient[:, 3:], atol=1e-12)
    assert torch.allclose(trace[:, 0], torch.stack([h[:3, :3].trace() for h in hessian]), atol=1e-12)
    assert torch.allclose(prepared.drift(x, t), by_x, atol=1e-12)


def test_a_quadratic_potential_has_its_closed_form():
    r"""With w = 0 the field is linear, x' = -(G x + g t + b): an exponential of a matrix carries it."""
    model = OTFlow({"width": 4}).double()
    p = model.potential
    p.w.data.zero_()
    p.A.data.copy_(torch.tensor([[0.8, 0.1, 0.0], [0.0, -0.5, 0.2], [0.3, 0.0, 0.1]]))
    p.b.data.copy_(torch.tensor([0.2, -0.1, 0.3]))
    model.set_sampling_defaults({"steps": 32})
    gram = (p.A.T @ p.A).detach()
    # the state (x, t, 1) obeys a linear equation
    generator = torch.zeros(4, 4, dtype=torch.float64)
    generator[:2, :3], generator[:2, 3], generator[2, 3] = -gram[:2], -p.b.detach()[:2], 1.0
    x = torch.randn(7, 2, dtype=torch.float64)
    start = torch.cat([x, torch.zeros(7, 1), torch.ones(7, 1)], 1).double()
    z = (start @ torch.linalg.matrix_exp(generator).T)[:, :2]
    normal = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    with torch.no_grad():
        assert torch.allclose(model.encode(x), z, atol=1e-7)
        assert torch.allclose(model.log_prob(x), normal - gram[:2, :2].trace(), atol=1e-6)


@pytest.mark.parametrize("form", ["rh-realnvp", "rh-otflow", "otflow"])
@pytest.mark.parametrize("damage", ["missing", "extra", "foreign"])
def test_damaged_checkpoints_are_named(form, damage, realnvp_file, tmp_path):
    _, plain = realnvp_file
    state = dict(plain.state_dict()) if form == "rh-realnvp" else random_otflow_state()
    if damage == "missing":
        state.pop("layers.2.t.4.bias" if form == "rh-realnvp" else "w.weight")
    elif damage == "extra":
        state["stranger"] = torch.zeros(3)
    else:
        state = {"conv.weight": torch.zeros(3, 3)}
    torch.save(state, tmp_path / "damaged.pt")
    with pytest.raises(DgmError) as error:
        convert([tmp_path / "damaged.pt"], "copy", format=form, out=tmp_path)
    assert error.value.hint
    assert not (tmp_path / "copy").exists()


def test_the_published_real_nvp(reference, moons, tmp_path):
    file = reference / "deepgenerativemodelingintro" / "realNVP" / "trainRealNVP.pt"
    plain = PlainRealNVP()
    plain.load_state_dict(torch.load(file, weights_only=True))
    model = dgmcore.load(convert([file], "rh", format="rh-realnvp", out=tmp_path))
    with torch.no_grad():
        z, log_prob = plain.double().log_prob(moons.double())
        assert (model.encode(moons) - z).abs().max() < 1e-4
        assert (model.log_prob(moons) - log_prob).abs().max() < 1e-3
        assert (model.decode(model.encode(moons)) - moons).abs().max() < 1e-4
        assert -model.log_prob(moons).mean() == pytest.approx(0.3495, abs=0.01)  # 20,000 points tell it to 0.006
    assert integral(model, (-3, -3), (4, 3.5)) == pytest.approx(1, abs=1e-3)


def test_the_published_otflow(reference, tmp_path):
    file = reference / "ot-flow" / "pretrained_swissroll_alph30_15_m32_checkpt.pth"
    with torch.serialization.safe_globals([argparse.Namespace]):
        state = torch.load(file, weights_only=True)["state_dict"]
    model = dgmcore.load(convert([file], "ot", format="otflow", out=tmp_path))
    assert model.num_parameters() == 1_229
    assert model.sampling().steps == 12
    x = open_data("swissroll:test").take(np.arange(200))
    z, log_prob = PlainOTFlow(state).log_prob(x.double(), steps=12)
    with torch.no_grad():
        assert (model.encode(x) - z).abs().max() < 1e-4
        assert (model.log_prob(x) - log_prob).abs().max() < 1e-3
    assert integral(model, (-5, -5), (6, 6), n=150, steps=12) == pytest.approx(1, abs=2e-3)
