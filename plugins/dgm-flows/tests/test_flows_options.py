"""What each option of the flows and of their training phases does, where the right value is known."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from dgm_flows.coupling import CouplingFlow
from dgm_flows.ffjord import FFJORD
from dgm_flows.glow import Glow
from dgm_flows.glow_top import DenseTop
from dgm_flows.otflow import OTFlow, Potential
from dgm_flows.planar import Planar, Radial
from dgm_flows.training import FFJORDPhase, FlowLikelihood, OTFlowPhase
from dgm_flows.zuko_flows import NICE, NSF
from torch import nn

from dgmcore.noise import IndexedNoise

X = IndexedNoise(0, 64, dtype=torch.float64).normal(2)


@pytest.mark.parametrize(
    "name", ["coupling", "ffjord", "glow", "iaf", "maf", "nice", "nsf", "otflow", "planar", "radial", "realnvp"]
)
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


def moved(model):
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.add_(0.3 * IndexedNoise(i, 1, dtype=p.dtype).normal(*p.shape)[0])
    return model


# --- phases ------------------------------------------------------------------------------------------


class Straight(nn.Module):
    """The field f = (2, -1) + x / 2, whose paths are known."""

    def jvp(self, t, x, v):
        return torch.tensor([2.0, -1.0], dtype=x.dtype) + x / 2, v / 2


@pytest.mark.parametrize("weights", [{}, {"kinetic": 3.0}, {"jacobian": 7.0}, {"kinetic": 0.0, "jacobian": 0.0}])
def test_paths_are_paid_by_their_speed_and_by_their_jacobian(recorder, weights):
    model = FFJORD({"hidden": [4]}).double()
    model.field = Straight()
    FFJORDPhase(model, FFJORDPhase.Options(steps=32, **weights)).step(step := recorder(X))
    rate = torch.tensor([2.0, -1.0], dtype=X.dtype)
    end = math.e**0.5 * (X + 2 * rate) - 2 * rate
    velocity = rate + X / 2  # at the start; along the path it grows by exp(t / 2)
    kinetic = velocity.square().sum(1).mean() * (math.e - 1)
    jacobian = 2 * 0.5**2  # of a sign vector in the plane
    nll = (end.square().sum(1) / 2 + math.log(2 * math.pi) - 1.0).mean()
    for name, value in (("kinetic", kinetic), ("jacobian", jacobian), ("nll", nll)):
        assert step.logged[name] == pytest.approx(float(value), rel=1e-5), name
    want = nll + weights.get("kinetic", 0.01) * kinetic + weights.get("jacobian", 0.01) * jacobian
    assert step.losses["model"] == [pytest.approx(float(want), rel=1e-5)]


@pytest.mark.parametrize(("phase", "model"), [(FFJORDPhase, FFJORD({"hidden": [8]})), (OTFlowPhase, OTFlow())])
def test_training_takes_its_own_steps_of_the_solver(monkeypatch, recorder, phase, model):
    seen, integrate = [], model.integrate
    monkeypatch.setattr(model, "integrate", lambda *args: seen.append(args[-1]) or integrate(*args))
    phase(model, phase.Options(steps=3)).step(recorder(X.float()))
    assert seen == [3]


@pytest.mark.parametrize("weights", [{}, {"likelihood": 0.5}, {"hjb": 2.0}])
def test_the_terms_of_optimal_transport_have_their_weights(recorder, weights):
    model = moved(OTFlow({"width": 8, "transport": 2.0}).double())
    OTFlowPhase(model, OTFlowPhase.Options(**weights)).step(step := recorder(X))
    said = step.logged
    want = said["transport"] + weights.get("likelihood", 10.0) * said["nll"] + weights.get("hjb", 5.0) * said["hjb"]
    assert step.losses["model"] == [pytest.approx(want)] and said["loss"] == pytest.approx(want)
    assert min(said.values()) > 0


def test_parameters_are_clamped_where_asked():
    for clamp, most in ((None, 5.0), (0.25, 0.25)):
        model = OTFlow({"width": 8})
        nn.init.constant_(model.potential.b, 5.0)
        phase = OTFlowPhase(model, OTFlowPhase.Options(clamp=clamp))
        phase._batch = X.float()  # it is asked for no other
        phase.step(
            type(
                "Step",
                (),
                {"index": 1, "minimize": lambda *_: None, "log": lambda *_, **k: None, "batch": lambda _: X.float()},
            )()
        )
        assert float(max(p.detach().abs().max() for p in model.parameters())) == most


@pytest.mark.parametrize(("keep", "drawn"), [(None, 6), (1, 6), (2, 3), (4, 2)])
def test_steps_share_a_batch(recorder, keep, drawn):
    phase = OTFlowPhase(OTFlow({"width": 4}), OTFlowPhase.Options(**({} if keep is None else {"keep_batch": keep})))
    step = recorder(X.float())
    for step.index in range(6):
        phase.step(step)
    assert step.batches == drawn
    other = OTFlowPhase(phase.model, phase.options)
    other.restore(phase.state())
    step.index = 6
    other.step(step)
    assert step.batches == drawn + (6 % (keep or 1) == 0), "a run that goes on has the batch"


@pytest.mark.parametrize(("initial", "rows"), [(0, None), (1, 64), (64, 64), (65, 128), (None, 256)])
def test_a_flow_is_first_fitted_to_so_many_data(recorder, initial, rows):
    model, seen = CouplingFlow({"blocks": 1, "hidden": 4}), []
    model.initialize = lambda x: seen.append(len(x))
    phase = FlowLikelihood(model, FlowLikelihood.Options(**({} if initial is None else {"initial": initial})))
    phase.setup(recorder(X.float()))
    assert seen == ([] if rows is None else [rows])


# --- architectures -----------------------------------------------------------------------------------


def test_the_potential_is_that_of_the_paper():
    p = moved(Potential(2, 5, 3).double())
    s = IndexedNoise(1, 7, dtype=torch.float64).normal(3)
    u = torch.log(2 * torch.cosh(p.opening(s)))
    for layer in p.residual:
        u = u + 0.5 * torch.log(2 * torch.cosh(layer(u)))
    want = u @ p.w + 0.5 * torch.einsum("ni,ki,kj,nj->n", s, p.A, p.A, s) + s @ p.b + p.c
    assert torch.allclose(p(s), want)
    s.requires_grad_()
    (slope,) = torch.autograd.grad(p(s).sum(), s, create_graph=True)
    trace = sum(torch.autograd.grad(slope[:, i].sum(), s, retain_graph=True)[0][:, i] for i in range(2))
    for row in range(7):
        time = float(s[row, 2])
        gradient, dt, laplacian = p.prepare(True).all(s[row : row + 1, :2].detach(), time)
        assert torch.allclose(gradient, slope[row : row + 1, :2]) and torch.allclose(dt[0], slope[row, 2:])
        assert torch.allclose(laplacian[0, 0], trace[row])
        assert torch.allclose(p.prepare(False).drift(s[row : row + 1, :2].detach(), time), gradient)


@pytest.mark.parametrize("transport", [None, 1.0, 4.0])
def test_transport_divides_the_velocity(transport):
    model = OTFlow({"width": 8, **({} if transport is None else {"transport": transport})}).double()
    for p in model.parameters():
        nn.init.zeros_(p)
    model.potential.b.data.copy_(torch.tensor([1.0, -2.0, 3.0]))  # the potential x_1 - 2 x_2 + 3 t
    out, a = model.integrate(X, 4), transport or 1.0
    assert torch.allclose(out["z"], X - torch.tensor([1.0, -2.0], dtype=X.dtype) / a)
    assert torch.allclose(model.decode(out["z"]), X) and not out["ladj"].any()
    assert torch.allclose(out["transport"], torch.tensor(5 / (2 * a * a), dtype=X.dtype))
    assert torch.allclose(out["hjb"], torch.tensor(abs(5 / (2 * a) - 3.0), dtype=X.dtype))


@pytest.mark.parametrize("bins", [2, 5, 16])
def test_splines_have_so_many_bins(bins):
    layers = [m for m in NSF({"bins": bins, "transforms": 1, "hidden": [4]}).modules() if isinstance(m, nn.Linear)]
    assert layers[-1].out_features == 2 * (3 * bins - 1)


def test_additive_couplings_keep_the_volume_but_for_their_scaling():
    model = moved(NICE({"dim": 3, "transforms": 4, "hidden": [4]}).double())
    _, ladj = model.transform(IndexedNoise(0, 20, dtype=torch.float64).normal(3))
    assert float(ladj.std()) < 1e-12 and abs(float(ladj[0])) > 1e-3
    for features, couplings in ((2, 2), (4, 3)):
        masks = [t.mask for t in NICE({"dim": features, "transforms": couplings}).flow.transforms[:-1]]
        assert all(bool((a != b).all()) for a, b in pairwise(masks)), "each half in turn"


def picture(**config):
    torch.manual_seed(0)
    return Glow({"event_shape": [1, 4, 4], "steps": [1, 1], "hidden": [4, 4], **config}).double()


def test_glow_ends_in_so_many_dense_couplings_of_principal_components():
    assert picture().levels[-1].top is None
    model = picture(top_steps=3, top_hidden=7)
    top = model.levels[-1].top
    assert isinstance(top, DenseTop) and len(top.couplings) == 3
    assert [c.net[0].out_features for c in top.couplings] == [7] * 3
    data = IndexedNoise(0, 200, dtype=torch.float64).normal(1, 4, 4).clamp(-1, 1)
    model.initialize(data)
    codes = model.encode(data)["level2"].flatten(1)  # couplings start as the identity
    covariance = codes.T @ codes / len(codes)
    assert torch.allclose(covariance, torch.eye(8, dtype=torch.float64), atol=1e-6), "white"
    assert torch.allclose(codes.mean(0), torch.zeros(8, dtype=torch.float64), atol=1e-6)
    assert (top.std.diff() <= 1e-9).all(), "the widest first"
    assert torch.allclose(moved(model).decode(model.encode(data)), data, atol=1e-8)


@pytest.mark.parametrize("dim", [4, 5])
def test_dense_couplings_invert_and_count_volume(dim):
    top = moved(DenseTop(dim, 3, 6).double())
    top.initialize(3 * IndexedNoise(3, 50, dtype=torch.float64).normal(dim) + 1)
    h = IndexedNoise(2, 6, dtype=torch.float64).normal(dim)
    z, ladj = top.encode(h)
    assert torch.allclose(top.decode(z), h)
    rows = [torch.autograd.functional.jacobian(lambda v: top.encode(v[None])[0][0], row) for row in h]
    assert torch.allclose(ladj, torch.linalg.slogdet(torch.stack(rows)).logabsdet)
    held = [top.couplings[i].encode(h)[0] - h for i in range(2)]
    for i, change in enumerate(held):
        assert not change[:, i::2].any() and change[:, 1 - i :: 2].all(), "every second one, in turn"


def test_what_starts_a_glow_is_fitted_to_is_standard_at_every_level():
    model, data = picture(event_shape=[2, 8, 8]), IndexedNoise(0, 400, dtype=torch.float64).normal(2, 8, 8)
    model.initialize(5 * data + 2)
    for name, z in model.encode(5 * data + 2).items():
        assert abs(z.mean()) < 1e-6 and abs(float(z.std()) - 1) < 2e-2, name


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_residual_steps_stay_invertible_whatever_their_weights(kind):
    model = kind({"layers": 4}).double()
    with torch.no_grad():
        for i, p in enumerate(model.parameters()):
            p.copy_(3 * IndexedNoise(i, 1, dtype=p.dtype).normal(*p.shape)[0])
    z = model.encode(X)
    assert torch.allclose(model.decode(z), X, atol=1e-6)
