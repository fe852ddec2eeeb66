"""What every flow must do, in `--dtype`: round trips, log-determinants, gradients, normalisation."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from dgm_flows.coupling import CouplingFlow
from dgm_flows.ffjord import FFJORD
from dgm_flows.flow import log_normal as standard_normal
from dgm_flows.glow import Glow
from dgm_flows.otflow import OTFlow
from dgm_flows.planar import Planar, Radial
from dgm_flows.realnvp import RealNVP
from dgm_flows.zuko_flows import IAF, MAF, NICE, NSF
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmcore import plugins
from dgmcore.interfaces import Likelihood
from dgmcore.noise import IndexedNoise
from dgmcore.testing import parametrize_with_checks

EXACT = {
    "realnvp": RealNVP,
    "coupling": CouplingFlow,
    "planar": Planar,
    "radial": Radial,
    "maf": MAF,
    "iaf": IAF,
    "nsf": NSF,
    "nice": NICE,
}
STEPPED = {"otflow": OTFlow, "ffjord": FFJORD}
VECTORS = EXACT | STEPPED
SMALL = {
    "realnvp": {"layers": 3, "hidden": 8},
    "coupling": {"blocks": 2, "hidden": 8},
    "planar": {"layers": 3},
    "radial": {"layers": 3},
    "otflow": {"width": 8},
    "ffjord": {"hidden": [8, 8]},
    **{name: {"transforms": 2, "hidden": [8]} for name in ("maf", "iaf", "nsf", "nice")},
}


@pytest.fixture(scope="module")
def make(dtype, device):
    """Builds a small flow whose weights are far from their initial values, and data for it."""
    return partial(build, dtype, device)


def build(dtype, device, name, dim=2, seed=0, spread=0.3):
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = VECTORS[name]({"dim": dim, **SMALL[name]}).to(dtype)
        for p in model.parameters():
            p.data.add_(torch.randn_like(p), alpha=spread)
        if hasattr(model, "initialize"):
            model.initialize(2 * torch.randn(64, dim, dtype=dtype) + 1)
        return model.to(device).eval(), torch.randn(5, dim, dtype=dtype).to(device)


def jacobian(function, x):
    return torch.stack([torch.autograd.functional.jacobian(lambda v: function(v[None])[0], row) for row in x])


@settings(max_examples=12, deadline=None)
@given(name=st.sampled_from(sorted(EXACT)), dim=st.integers(2, 5), seed=st.integers(0, 99))
def test_exact_flows_invert_and_count_volume(make, within, name, dim, seed):
    model, x = make(name, dim, seed)
    z, ladj = model.transform(x)
    assert torch.allclose(model.decode(z), x, atol=within(1e-9))
    assert torch.allclose(model.encode(model.decode(x)), x, atol=within(1e-9))
    expected = torch.linalg.slogdet(jacobian(model.encode, x)).logabsdet
    assert torch.allclose(ladj, expected, atol=within(1e-9))
    log_normal = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
    assert torch.allclose(model.log_prob(x), log_normal + expected, atol=within(1e-9))


@pytest.mark.parametrize("name", sorted(STEPPED))
def test_stepped_flows_converge_with_their_steps(make, dtype, name):
    model, x = make(name, dim=3)
    errors = []
    for steps in (16, 32):
        model.set_sampling_defaults({"steps": steps})
        z, ladj = model.transform(x)
        logdet = torch.linalg.slogdet(jacobian(model.encode, x)).logabsdet
        errors.append((max((ladj - logdet).abs().max(), (model.decode(z) - x).abs().max())).item())
    assert errors[1] < 1e-4
    assert dtype != torch.float64 or errors[1] < errors[0] / 6, "fourth order: half the step, a sixteenth of the error"


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_all_parameters_learn_and_kinds_are_told(make, name):
    model, x = make(name)
    model.train()
    model.log_prob(x).sum().backward()
    for key, p in model.named_parameters():
        assert (p.grad is not None and p.grad.abs().sum() > 0) or not p.requires_grad, key
    assert model.likelihood is (Likelihood.ESTIMATE if name in STEPPED else Likelihood.EXACT)
    assert {"generator", "pushforward", "density", "encoder"} <= set(model.capabilities)


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_densities_integrate_to_one(make, dtype, device, name):
    model, _ = make(name, spread=0.1)
    low, high, n = -16.0, 18.0, 160  # a spacing of a tenth of the density's width: the sum is exact to 1e-3
    axis = torch.linspace(low, high, n, dtype=dtype, device=device)
    with torch.no_grad():
        log_prob = model.log_prob(torch.cartesian_prod(axis, axis))
    assert log_prob.exp().sum().item() * ((high - low) / (n - 1)) ** 2 == pytest.approx(1, abs=5e-3)


@pytest.mark.parametrize("name", sorted(VECTORS))
def test_samples_are_the_pushforward_and_do_not_depend_on_the_batch(make, within, dtype, device, name):
    model, _ = make(name)
    on = {"dtype": dtype, "device": device}
    with torch.no_grad():
        whole = model.sample(IndexedNoise(3, 6, **on))
        eps = IndexedNoise(3, 6, **on).named(model.noise_shapes)
        assert torch.allclose(whole, model.push(eps), atol=within(1e-12))
        assert torch.allclose(whole[2:4], model.sample(IndexedNoise(3, 2, 2, **on)), atol=within(1e-9))
        if "trajectory" in model.capabilities:
            states = list(model.trajectory(IndexedNoise(3, 6, **on)))
            assert torch.allclose(states[0], eps["z"])
            assert torch.allclose(states[-1], whole, atol=within(1e-12))


@parametrize_with_checks(["flows"])
def test_conformance(check, device):
    check(device)


def test_every_architecture_is_registered():
    known = plugins.architectures()
    for name, kind in {**VECTORS, "glow": Glow}.items():
        assert known[name].family == "flows"
        assert plugins.architecture(name) is kind


@given(dim=st.integers(2, 6), seed=st.integers(0, 99))
@settings(max_examples=8, deadline=None)
def test_a_coupling_flow_starts_by_whitening(dim, seed):
    generator = torch.Generator().manual_seed(seed)
    mixing = torch.randn(dim, dim, generator=generator, dtype=torch.float64)
    x = 3 + torch.randn(500, dim, generator=generator, dtype=torch.float64) @ mixing
    model = CouplingFlow({"dim": dim, "blocks": 3, "hidden": 8}).double()
    model.initialize(x)
    z = model.encode(x)
    assert z.mean(0).abs().max() < 1e-6
    assert (z.T @ z / len(z) - torch.eye(dim)).abs().max() < 1e-4


def test_what_otflow_trains_is_what_it_scores():
    """The way, its log-determinant, its cost and how far it is from optimal, of one integration and of the model."""
    torch.manual_seed(0)
    flow = OTFlow({"dim": 2, "width": 8})
    x = torch.randn(16, 2)
    with torch.no_grad():
        for p in flow.parameters():
            p.add_(0.3 * torch.randn_like(p))
        out = flow.integrate(x, flow.steps)
        torch.testing.assert_close(out["z"], flow.encode(x))
        torch.testing.assert_close(standard_normal(out["z"]) + out["ladj"], flow.log_prob(x), rtol=1e-4, atol=1e-4)
        straight = (out["z"] - x).square().sum(1) / 2
    assert (out["transport"] >= straight * (1 - 1e-3)).all() and (out["hjb"] >= 0).all()
