"""Planar and radial flows: invertible whatever their parameters, and amortised for posteriors."""

from __future__ import annotations

import pytest
import torch
from dgm_flows.planar import Planar, Radial
from hypothesis import given, settings
from hypothesis import strategies as st


@settings(max_examples=20, deadline=None)
@given(kind=st.sampled_from([Planar, Radial]), dim=st.integers(1, 4), scale=st.floats(0, 8), seed=st.integers(0, 99))
def test_wild_parameters_stay_invertible(kind, dim, scale, seed):
    g = torch.Generator().manual_seed(seed)
    model = kind({"dim": dim, "layers": 2}).double()
    model.params.data.copy_(scale * torch.randn(model.params.shape, generator=g, dtype=torch.float64))
    z = torch.randn(6, dim, generator=g, dtype=torch.float64)
    y, ladj = model(z)
    back, minus = model.transform(model.decode(z))
    # an all but flat layer loses digits, no more than its own conditioning says
    assert torch.allclose(model.decode(back), model.decode(z), atol=1e-6)
    assert torch.allclose(minus[ladj > -8], -ladj[ladj > -8], atol=1e-4)
    assert y.isfinite().all()


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_each_datum_can_have_its_own_chain(kind):
    model = kind({"dim": 3, "layers": 2}).double()
    z = torch.randn(4, 3, dtype=torch.float64)
    params = torch.randn(4, model.num_params, dtype=torch.float64, requires_grad=True)
    y, ladj = model(z, params)
    for i in range(4):
        alone = torch.autograd.functional.jacobian(lambda v: model(v[None], params[i : i + 1])[0][0], z[i])  # noqa: B023
        assert torch.allclose(ladj[i], torch.linalg.slogdet(alone).logabsdet, atol=1e-10)
        assert torch.allclose(model(z[i : i + 1], params[i : i + 1])[0][0], y[i], atol=1e-12)
    (y.sum() + ladj.sum()).backward()
    assert (params.grad != 0).any(0).all()


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_zero_parameters_are_the_identity(kind):
    model = kind({"dim": 2, "layers": 3})
    z = torch.randn(5, 2)
    y, ladj = model(z, torch.zeros(5, model.num_params))
    assert torch.allclose(y, z)
    assert torch.allclose(ladj, torch.zeros(5), atol=1e-6)


@pytest.mark.parametrize("kind", [Planar, Radial])
def test_the_inverse_has_true_derivatives(kind):
    model = kind({"dim": 2, "layers": 2}).double()
    x = torch.randn(3, 2, dtype=torch.float64)

    def log_prob(params):
        return torch.func.functional_call(model, {"params": params}, (x,), {"params": None})[0]

    class Wrapped(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.model = model

        def forward(self, x):
            return self.model.log_prob(x)

    def density(params):
        return torch.func.functional_call(Wrapped(), {"model.params": params}, (x,))

    params = torch.randn_like(model.params).requires_grad_()
    assert torch.autograd.gradcheck(log_prob, (params,))
    assert torch.autograd.gradcheck(density, (params,))
