"""VAEs: what their bounds are worth, and the published weights."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from dgm_vaes.conv import ConvVAE
from dgm_vaes.convert import rh_vae_state
from dgm_vaes.distributions import Bernoulli, Gaussian, standard_normal_log_prob
from dgm_vaes.mlp import MLPVAE
from dgm_vaes.nvae import NVAE
from dgm_vaes.posteriors import Continuous, InverseAutoregressive, Planar, Radial
from dgm_vaes.rh import RHVAE
from dgm_vaes.training import ELBO
from torch.func import jacrev, vmap

from dgmcore.errors import DataError, DgmError, RegistryError, UsageError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks


@parametrize_with_checks(["vaes"])
def test_conformance(check, device):
    check(device)


def toy(**config) -> MLPVAE:
    """A VAE with one latent for points of the plane."""
    torch.manual_seed(0)
    return MLPVAE({"latents": 1, "hidden": [16], "sigma": 0.5, **config}).double().eval()


def log_prob_on_grid(model: MLPVAE, x: torch.Tensor) -> torch.Tensor:
    """log p(x) by the trapezoidal rule over the one latent."""
    z = torch.linspace(-8, 8, 4001, dtype=x.dtype)[:, None]
    p = model.conditional(z)
    joint = torch.distributions.Normal(p.mu, p.sigma).log_prob(x[:, None]).sum(-1)
    return torch.logsumexp(joint + standard_normal_log_prob(z), 1) + math.log(16 / 4000)


@pytest.mark.parametrize("posterior", ["normal", "planar", "radial", "iaf", "cnf"])
def test_bounds_rise_with_samples_to_the_likelihood(posterior):
    model = toy(posterior=posterior)
    x = torch.randn(200, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        truth = log_prob_on_grid(model, x)
        elbo = torch.stack([model.log_prob(x, noise=IndexedNoise(s, 200, dtype=x.dtype)) for s in range(20)]).mean(0)
        iwae = model.log_prob(x, k=50)
        close = model.log_prob(x, k=300, chunk=100)
    assert elbo.mean() < iwae.mean() < truth.mean() + 1e-2
    assert -0.2 < (close - truth).mean() < 1e-2


def test_any_number_of_latents():
    model = toy(latents=3)
    x = torch.randn(6, 2, dtype=torch.float64)
    assert model.encode(x).shape == (6, 3)
    assert model.sample(IndexedNoise(0, 5, dtype=x.dtype)).shape == x[:5].shape


def test_bound_does_not_depend_on_the_chunk():
    model, x = toy(), torch.randn(4, 2, dtype=torch.float64)
    torch.testing.assert_close(model.log_prob(x, k=10, chunk=3), model.log_prob(x, k=10, chunk=10))


def test_kl_closed_forms():
    g = torch.Generator().manual_seed(0)
    a, b = (Gaussian(*torch.randn(2, 5, 3, generator=g, dtype=torch.float64)) for _ in range(2))
    normal = torch.distributions.Normal
    expected = torch.distributions.kl_divergence(normal(a.mu, a.sigma), normal(b.mu, b.sigma)).sum(1)
    torch.testing.assert_close(a.kl(b), expected)
    zero = torch.zeros_like(a.mu)
    torch.testing.assert_close(a.kl_to_standard(), a.kl(Gaussian(zero, zero)))


@pytest.mark.parametrize(
    "flow", [Planar(4, 3, 5), Radial(4, 3, 5), InverseAutoregressive(4, 3, 3, 16)], ids=["planar", "radial", "iaf"]
)
def test_log_determinants_of_posterior_flows(flow):
    flow = flow.double()
    z, context = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    jacobian = vmap(jacrev(lambda z, c: flow(z[None], c[None])[0][0]))(z, context)
    torch.testing.assert_close(flow(z, context)[1], torch.linalg.slogdet(jacobian).logabsdet)


def test_the_log_determinant_of_a_continuous_posterior_is_that_of_its_map():
    flow = Continuous(4, 3, 20, hidden=8).double()
    torch.nn.init.normal_(flow.leave.weight, generator=torch.Generator().manual_seed(0))
    z, context = torch.randn(6, 4, dtype=torch.float64), torch.randn(6, 3, dtype=torch.float64)
    jacobian = vmap(jacrev(lambda z, c: flow(z[None], c[None])[0][0]))(z, context)
    found = flow(z, context)[1]
    torch.testing.assert_close(found, torch.linalg.slogdet(jacobian).logabsdet, rtol=0, atol=1e-4)
    assert float(found.detach().std()) > 0.1


@pytest.mark.parametrize("gradient", ["total", "path"])
def test_gradient_estimators_agree_in_expectation(gradient):
    model = toy().train()
    x, n = torch.randn(1, 2, dtype=torch.float64), 40_000

    def gradients(kind):
        phase = ELBO(model, ELBO.Options(gradient=kind))
        recon, kl = phase.terms(x.expand(n, -1), StreamNoise(0, n, dtype=x.dtype))
        model.zero_grad()
        (kl - recon).mean().backward()
        return model.heads.weight.grad.clone()

    exact, estimate = gradients("analytic"), gradients(gradient)
    assert (exact - estimate).norm() < 0.05 * exact.norm()


def test_path_derivative_has_no_variance_at_the_true_posterior():
    # a linear decoder of zero slope: the true posterior is the prior, which zero heads give
    model = toy(sigma=1.0)
    for layer in (model.heads, model.network[-1]):
        torch.nn.init.zeros_(layer.weight)
        torch.nn.init.zeros_(layer.bias)
    x = torch.randn(3, 2, dtype=torch.float64)
    for gradient, quiet in (("path", True), ("total", False)):
        recon, kl = ELBO(model, ELBO.Options(gradient=gradient)).terms(x, StreamNoise(0, 3, dtype=x.dtype))
        model.zero_grad()
        (kl - recon).sum().backward()
        assert (model.heads.weight.grad.abs().max() < 1e-12) == quiet, gradient


def test_path_derivative_refuses_flows():
    with pytest.raises(DgmError, match="normal posterior"):
        ELBO(toy(posterior="planar"), ELBO.Options(gradient="path"))


@pytest.mark.parametrize("model", [MLPVAE, ConvVAE, RHVAE, NVAE])
def test_options_are_the_models_own(model):
    assert {"temperature", "mean"} <= set(model.Sampling.__struct_fields__) <= {"temperature", "mean", "readjust_bn"}
    assert set(model.Scoring.__struct_fields__) <= {"k", "chunk"}


def test_sizes():
    model = RHVAE()
    assert sum(p.numel() for p in model.network.parameters()) == 42_913
    assert sum(p.numel() for p in [*model.features.parameters(), *model.heads.parameters()]) == 45_924
    assert ConvVAE().heads.in_features == 1024  # thesis, Table 3.6
    with pytest.raises(RegistryError, match="halved 3 times"):
        ConvVAE({"widths": [8, 8, 8]})


@pytest.mark.parametrize("decoder, low", [("gaussian", -1.0), ("bernoulli", 0.0)])
def test_decoder_means_stay_in_the_range(decoder, low):
    model = ConvVAE({"decoder": decoder, "event_shape": [1, 8, 8], "widths": [4, 8], "hidden": 8}).eval()
    x = model.sample(IndexedNoise(0, 8), mean=True, temperature=3.0)
    assert x.min() >= low and x.max() <= 1.0


def published(reference: Path) -> tuple[RHVAE, dict[str, torch.Tensor]]:
    file = reference / "deepgenerativemodelingintro" / "results" / "VAE" / "trainVAE.pt"
    if not file.exists():
        file = next(iter(sorted(reference.rglob("trainVAE.pt"))))
    tensors = torch.load(file, map_location="cpu", weights_only=True)
    model = RHVAE({"posterior_std": "exp"})
    model.load_state_dict(rh_vae_state(tensors))
    return model.eval(), tensors


def test_published_weights_give_the_published_nets_outputs(reference):
    model, t = published(reference)
    f = torch.nn.functional
    x, z = torch.rand(4, 1, 28, 28), torch.randn(4, 2)
    h = f.relu(f.conv2d(x, t["e.conv1.weight"], t["e.conv1.bias"], 2, 1))
    h = f.relu(f.conv2d(h, t["e.conv2.weight"], t["e.conv2.bias"], 2, 1)).flatten(1)
    g = f.linear(z, t["g.fc.weight"], t["g.fc.bias"]).view(-1, 64, 7, 7)
    for conv, norm in (("g.conv2", "g.bn2"), ("g.conv1", "g.bn1")):
        statistics = (t[f"{norm}.running_mean"], t[f"{norm}.running_var"], t[f"{norm}.weight"], t[f"{norm}.bias"])
        g = f.conv_transpose2d(f.relu(f.batch_norm(g, *statistics)), t[f"{conv}.weight"], t[f"{conv}.bias"], 2, 1)
    with torch.no_grad():
        torch.testing.assert_close(model.encode(x), f.linear(h, t["e.fc_mu.weight"], t["e.fc_mu.bias"]))
        torch.testing.assert_close(model.decode(z), torch.sigmoid(g), atol=1e-5, rtol=0)


def test_published_weights_reach_their_true_bound(reference):
    from dgmcore.data import as_tensor, open_data

    model, _ = published(reference)
    try:
        x = as_tensor(open_data("mnist:test"), limit=2000)
    except DataError:
        pytest.skip("MNIST is not here")
    x = (x + 1) / 2 if x.min() < 0 else x
    with torch.no_grad():
        at_mean = -Bernoulli(model.network(model.encode(x))).log_prob(x).mean()
        elbo = model.log_prob(x).mean()
    # all 10,000 give 142.83 and -150.6
    assert at_mean.item() == pytest.approx(143.529, abs=0.01)
    assert elbo.item() == pytest.approx(-151.2, abs=0.3)


def test_conversion_names_what_is_missing():
    with pytest.raises(UsageError, match=r"e\.fc_mu\.weight is missing"):
        rh_vae_state({"g.fc.weight": torch.zeros(3136, 2)})
