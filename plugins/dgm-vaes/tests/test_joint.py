"""The joint density of what a VAE draws, which the published potential of VAEBM asks for."""

from __future__ import annotations

import pytest
import torch
from dgm_vaes.mlp import MLPVAE
from dgm_vaes.nvae import NVAE

from dgmcore import IndexedNoise
from dgmcore.compose import flatten
from dgmcore.errors import UsageError


@pytest.mark.parametrize("make", [lambda: MLPVAE({"hidden": [8], "sigma": "output"}), lambda: NVAE(NVAE.example)])
def test_the_joint_density_is_the_noises_over_the_jacobian(make):
    torch.manual_seed(0)
    model = make().double().eval()
    eps = IndexedNoise(0, 2, dtype=torch.float64).named(model.noise_shapes)
    small = {**eps, "x": 1e-3 * eps["x"]}  # images are cut to their range
    x, log_prior, log_likelihood = model.joint(small)
    assert torch.equal(x, model.push(small))
    mean = model.push({**eps, "x": torch.zeros_like(x)})
    log_sigma = ((x - mean) / small["x"]).log().flatten(1).sum(1)
    normal = torch.distributions.Normal(0.0, 1.0)
    assert torch.allclose(log_likelihood, normal.log_prob(small["x"]).flatten(1).sum(1) - log_sigma, atol=1e-4)
    from_noise = sum(normal.log_prob(e).flatten(1).sum(1) for e in flatten({"z": eps["z"]}).values())
    assert log_prior.shape == from_noise.shape
    if isinstance(model, MLPVAE):  # whose prior is standard normal
        assert torch.allclose(log_prior, from_noise)
    assert (model.joint(small, log_sigma_min=3.0)[2] < log_likelihood).all()


def test_a_bernoulli_decoder_has_none():
    model = MLPVAE({"hidden": [8], "decoder": "bernoulli"})
    with pytest.raises(UsageError):
        model.joint(IndexedNoise(0, 2).named(model.noise_shapes))
