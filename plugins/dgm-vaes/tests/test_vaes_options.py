"""What each option of the VAEs and of their training phases does, where the right value is known."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_vaes.conv import ConvAutoencoder, ConvVAE
from dgm_vaes.mlp import MLPVAE
from dgm_vaes.posteriors import Continuous, InverseAutoregressive, Planar, Radial, make_flow
from dgm_vaes.rh import RHVAE
from dgm_vaes.training import ELBO, Reconstruction
from dgm_vaes.vae import VAE
from torch import nn

from dgmcore.noise import IndexedNoise

X = IndexedNoise(0, 50, dtype=torch.float64).normal(2)


@pytest.mark.parametrize("name", ["conv-autoencoder", "conv-vae", "mlp-vae", "nvae", "rh-vae"])
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


def toy(**config) -> MLPVAE:
    torch.manual_seed(0)
    return MLPVAE({"latents": 2, "hidden": [8], "sigma": 0.5, **config}).double().eval()


# --- phases of VAEs ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "progress", "weight"),
    [
        ({}, 0.0, 1.0),
        ({"beta": 3.0}, 0.0, 3.0),
        ({"beta": 0.0}, 0.5, 0.0),
        ({"warmup": 0.5}, 0.0, 0.0),
        ({"warmup": 0.5}, 0.1, 0.2),
        ({"warmup": 0.5, "beta": 4.0}, 0.25, 2.0),
        ({"warmup": 0.5, "beta": 4.0}, 0.75, 4.0),
    ],
)
def test_beta_weighs_the_divergence_and_is_warmed_up(recorder, options, progress, weight):
    model = toy()
    phase = ELBO(model, ELBO.Options(**options))
    phase.step(step := recorder(X, progress=progress))
    posterior = model.posterior(model.features(X))
    kl = posterior.kl_to_standard().mean().item()
    said = step.logged
    assert said["kl"] == pytest.approx(kl) and said["elbo"] == pytest.approx(said["recon"] - kl)
    assert step.losses["model"] == [pytest.approx(weight * kl - said["recon"])]


@pytest.mark.parametrize("weight", [None, 0.0, 2.5])
def test_codes_are_kept_small_by_their_weight(recorder, weight):
    model = ConvAutoencoder({"event_shape": [1, 4, 4], "latents": 3, "widths": [4], "hidden": 8}).eval()
    options = Reconstruction.Options(**({} if weight is None else {"code_weight": weight}))
    x = IndexedNoise(1, 20).normal(1, 4, 4).clamp(-1, 1)
    phase = Reconstruction(model, options)
    phase.step(step := recorder(x))
    z = model.encode(x)
    want = (model.decode(z) - x).square().flatten(1).sum(1) + (weight or 0.0) * z.square().sum(1)
    assert step.losses["model"] == [pytest.approx(want.mean().item(), rel=1e-5)]
    assert torch.allclose(phase.validate(x, None), want)


# --- options of VAEs ---------------------------------------------------------------------------------


def test_the_spread_of_a_gaussian_decoder_is_what_is_asked():
    z = X[:5]
    assert torch.allclose(toy(sigma=0.3).conditional(z).sigma, torch.tensor(0.3, dtype=X.dtype))
    learned = toy(sigma="global", log_sigma_min=-1.0)
    bound = -1 + math.log1p(math.e)  # softplus of the distance to the bound, which is 1 at the start
    assert torch.allclose(learned.conditional(z).log_sigma, torch.tensor(bound, dtype=X.dtype))
    learned.log_sigma.data.fill_(-50.0)
    assert torch.allclose(learned.conditional(z).log_sigma, torch.tensor(-1.0, dtype=X.dtype))
    each = toy(sigma="output").conditional(z).log_sigma
    assert each.shape == z.shape and float(each.std()) > 0


@pytest.mark.parametrize(("kind", "times"), [("half", 0.5), ("exp", 1.0)])
def test_the_head_of_the_posterior_is_read_as_asked(kind, times):
    model = toy(posterior_std=kind)
    h = model.features(X)
    assert torch.allclose(model.posterior(h).log_sigma, times * model.heads(h)[:, 2:])
    assert torch.allclose(model.posterior(h).mu, model.heads(h)[:, :2]) and torch.allclose(
        model.encode(X), model.heads(h)[:, :2]
    )


@pytest.mark.parametrize(("name", "kind"), [("relu", nn.ReLU), ("silu", nn.SiLU), ("tanh", nn.Tanh), ("elu", nn.ELU)])
def test_the_activation_is_the_one_that_is_named(name, kind):
    model = toy(activation=name, hidden=[8, 5])
    assert [type(m) for m in model.features] == [nn.Linear, kind] * 2
    assert [m.out_features for m in model.network if isinstance(m, nn.Linear)] == [5, 8, 2]


@pytest.mark.parametrize("steps", [1, 3])
def test_bent_posteriors_have_so_many_steps(steps):
    assert make_flow("normal", 2, 3, steps) is None
    for kind in ("planar", "radial"):
        flow = make_flow(kind, 2, 3, steps)
        assert flow.steps == steps and flow.amortize.out_features == steps * (5 if kind == "planar" else 4)
    assert isinstance(make_flow("iaf", 2, 3, steps), InverseAutoregressive)
    assert isinstance(make_flow("cnf", 2, 3, steps), Continuous)


def test_a_planar_step_is_that_of_the_paper():
    flow = Planar(2, 1, 1).double()
    u, w, b = [0.5, -0.2], [1.0, 0.3], 0.1
    nn.init.zeros_(flow.amortize.weight)
    flow.amortize.bias.data = torch.tensor([*u, *w, b], dtype=torch.float64)
    u, w = torch.tensor(u, dtype=X.dtype), torch.tensor(w, dtype=X.dtype)
    wu = w @ u
    u = u + (torch.log1p(torch.exp(wu + math.log(math.e - 1))) - 1 - wu) * w / (w @ w)
    want = X + torch.tanh(X @ w + b)[:, None] * u
    assert torch.allclose(flow(X, torch.zeros(50, 1, dtype=X.dtype))[0], want, atol=1e-6)
    assert float(w @ u) > -1


def test_steps_of_no_weight_are_the_identity():
    for kind in (Planar, Radial):
        flow = kind(2, 1, 3).double()
        nn.init.zeros_(flow.amortize.weight)
        nn.init.zeros_(flow.amortize.bias)
        z, log_det = flow(X, torch.ones(50, 1, dtype=X.dtype))
        assert torch.allclose(z, X) and torch.allclose(log_det, torch.zeros(50, dtype=X.dtype), atol=1e-12), kind


@pytest.mark.parametrize("temperature", [None, 0.0, 0.5, 2.0])
def test_the_temperature_is_the_priors_and_the_mean_has_no_noise(temperature):
    model = toy()
    options = {} if temperature is None else {"temperature": temperature}
    eps = IndexedNoise(3, 20, dtype=X.dtype).named(model.noise_shapes)
    decoded = model.decode((1.0 if temperature is None else temperature) * eps["z"])
    mean = model.sample(IndexedNoise(3, 20, dtype=X.dtype), mean=True, **options)
    assert torch.allclose(mean, decoded)
    drawn = model.sample(IndexedNoise(3, 20, dtype=X.dtype), **options)
    assert torch.allclose(drawn, decoded + 0.5 * eps["x"]), "of the decoder's deviation"


def test_a_bound_is_that_of_its_number_of_samples():
    model, noise = toy(), IndexedNoise(0, 50, dtype=X.dtype)
    q = model.posterior(model.features(X))
    weights = []
    for j in range(3):
        z = q.push(noise.normal(2, name=f"z{j}"))
        standard = torch.distributions.Normal(0, 1).log_prob(z).sum(1)
        weights.append(model.conditional(z).log_prob(X) + standard - q.log_prob(z))
    for k, chunk in ((3, 1), (3, 2), (3, 16)):
        bound = model.log_prob(X, noise=IndexedNoise(0, 50, dtype=X.dtype), k=k, chunk=chunk)
        assert torch.allclose(bound, torch.stack(weights).logsumexp(0) - math.log(3))
    one = model.log_prob(X, noise=IndexedNoise(0, 50, dtype=X.dtype))
    closed = weights[0] * 0 + model.conditional(q.push(noise.normal(2, name="z0"))).log_prob(X) - q.kl_to_standard()
    assert torch.allclose(one, closed)


def test_joint_densities_are_those_of_the_noise():
    model = toy(sigma=0.1)
    eps = IndexedNoise(1, 9, dtype=X.dtype).named(model.noise_shapes)
    x, prior, pixels = model.joint(eps)
    normal = torch.distributions.Normal(0, 1)
    assert torch.allclose(x, model.push(eps)) and torch.allclose(prior, normal.log_prob(eps["z"]).sum(1))
    assert torch.allclose(pixels, normal.log_prob(eps["x"]).sum(1) - 2 * math.log(0.1))
    wide = model.joint(eps, log_sigma_min=0.0)
    assert torch.allclose(wide[0], x)
    assert torch.allclose(wide[2], torch.distributions.Normal(model.decode(eps["z"]), 1.0).log_prob(x).sum(1))


@pytest.mark.parametrize("hidden", [0, 16])
def test_convolutions_end_in_a_dense_layer_where_asked(hidden):
    torch.manual_seed(0)
    model = ConvVAE({"event_shape": [2, 8, 12], "latents": 3, "widths": [4, 6], "hidden": hidden}).eval()
    assert sum(isinstance(m, nn.Linear) for m in model.features) == (hidden > 0)
    assert model.heads.in_features == (hidden or 6 * 2 * 3) and model.heads.out_features == 6
    x = model.sample(IndexedNoise(0, 3))
    assert x.shape == (3, 2, 8, 12) and model.encode(x).shape == (3, 3)


def test_sizes_of_the_small_one():
    for latents, width in ((2, 32), (5, 4)):
        model = RHVAE({"latents": latents, "width": width}).eval()
        assert isinstance(model, VAE) and model.noise_shapes == {"z": (latents,)}
        assert model.encode(model.sample(IndexedNoise(0, 3))).shape == (3, latents)
