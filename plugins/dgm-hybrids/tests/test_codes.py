"""Auto-encoders whose codes follow a normal, a mixture of normals, or a second VAE."""

from __future__ import annotations

import pytest
import torch
from dgm_eval.distances import energy_distance
from dgm_hybrids.codes import RAE
from dgm_hybrids.codes_training import multiquadric_mmd
from torch.distributions import Categorical, MixtureSameFamily, MultivariateNormal

import dgmcore
from dgmcore import IndexedNoise
from dgmcore.data import as_tensor, open_data
from dgmcore.errors import DgmError
from dgmcore.loading.load import build

#: An encoder of points, whose code is the posterior's mean.
CODER = {"architecture": "mlp-vae", "config": {"dim": 2, "latents": 2, "hidden": [64], "sigma": 0.1}}


def trained(tmp_path, architecture, parts, *phases, **config):
    recipe = {
        "schema": 1,
        "name": architecture,
        "architecture": architecture,
        "config": config,
        "license": "Apache-2.0",
        "data": {"dataset": "moons"},
        "parts": parts,
        "phases": [{"batch_size": 128, "optimizer": {"name": "adam", "lr": 3e-3}, **phase} for phase in phases],
    }
    return dgmcore.load(dgmcore.train(recipe, runs=tmp_path))


def moons(n=2000):
    return as_tensor(open_data("moons:test"), n)


def mixture(k=3, q=2):
    model = build("rae", {"components": k}, {"autoencoder": CODER}).eval()
    g = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p, scale in ((model.logits, 0.5), (model.means, 2.0), (model.factors, 0.3)):
            p.copy_(scale * torch.randn(p.shape, generator=g))
    return model


def test_the_mixtures_density_is_the_textbooks():
    model, z = mixture(), torch.randn(50, 2, generator=torch.Generator().manual_seed(1))
    normals = MultivariateNormal(model.means, scale_tril=model.covariance_factors())
    expected = MixtureSameFamily(Categorical(logits=model.logits), normals).log_prob(z)
    torch.testing.assert_close(model.code_log_prob(z), expected, rtol=1e-4, atol=1e-4)


def test_codes_are_drawn_from_that_density(monkeypatch):
    model = mixture()
    monkeypatch.setattr(RAE, "decode", lambda self, z: z)
    z = model.sample(IndexedNoise(0, 40_000))
    shares, factors = model.logits.softmax(0), model.covariance_factors()
    mean = (shares[:, None] * model.means).sum(0)
    second = (shares[:, None, None] * (factors @ factors.mT + model.means[:, :, None] * model.means[:, None])).sum(0)
    torch.testing.assert_close(z.mean(0), mean, rtol=0, atol=0.05)
    torch.testing.assert_close(z.T @ z / len(z), second, rtol=0.03, atol=0.05)


def test_the_kernel_tells_codes_from_normal_ones():
    noise = IndexedNoise(0, 500)
    x, y = noise.normal(4, name="x"), noise.normal(4, name="y")
    same, shifted = float(multiquadric_mmd(x, y)), float(multiquadric_mmd(x, y + 1))
    assert abs(same) < 0.02 < 0.3 < shifted


@pytest.mark.parametrize(("penalty", "weight"), [("gan", 3.0), ("mmd", 3.0), ("mmd", 0.0)])
def test_a_wae_makes_codes_normal(tmp_path, penalty, weight):
    phase = {"phase": "wae", "steps": 300, "ema": 0.98, "options": {"weight": weight}}
    if penalty == "gan":
        phase["optimizers"] = {"discriminator": {"name": "adam", "lr": 1e-3, "betas": [0.5, 0.999]}}
    x, parts = moons(), {"autoencoder": CODER}
    model = trained(tmp_path, "wae", parts, phase, penalty=penalty, hidden=[64, 64])
    with torch.no_grad():
        z = model.encode(x)
        error = float((model.decode(z) - x).square().sum(1).mean())
    apart = float(multiquadric_mmd(z, IndexedNoise(0, len(x)).normal(2)))
    assert error < 0.2, error
    assert apart < 0.25 if weight else apart > 0.4, apart


def distance(model):
    """The energy distance of 1,000 samples and as many data; of two sets of data it is about 0.0003."""
    return float(energy_distance(model.sample(IndexedNoise(0, 1000)), moons(1000)))


def test_a_mixture_of_codes_draws_the_data(tmp_path):
    phases = (
        {"phase": "autoencoder.elbo", "steps": 250},
        {"phase": "mixture", "steps": 20, "options": {"initial": 2000}},
    )
    model = trained(tmp_path, "rae", {"autoencoder": CODER}, *phases, components=8)
    fitted = distance(model)
    with torch.no_grad():
        model.factors.zero_()  # standard normals around the means
    assert fitted < 0.01 and fitted < 0.2 * distance(model)


def test_the_second_vae_mends_the_first(tmp_path):
    second = {"architecture": "mlp-vae", "config": {"dim": 2, "latents": 2, "hidden": [64, 64]}}
    phases = ({"phase": "base.elbo", "steps": 250, "options": {"beta": 0.05}}, {"phase": "second", "steps": 500})
    model = trained(tmp_path, "twostage", {"base": CODER, "second": second}, *phases)
    assert distance(model) < 0.5 * distance(model.parts["base"])


@pytest.mark.parametrize(
    ("architecture", "parts", "said"),
    [
        ("wae", {"autoencoder": {"architecture": "coupling", "config": {"dim": 2}}}, "is not one vector"),
        ("twostage", {"base": CODER, "second": {"architecture": "mlp-vae", "config": {"dim": 3}}}, "codes have shape"),
        ("twostage", {"base": CODER, "second": {"architecture": "coupling", "config": {"dim": 2}}}, "can't be made of"),
    ],
)
def test_parts_that_do_not_fit_are_refused(architecture, parts, said):
    with pytest.raises(DgmError, match=said) as caught:
        build(architecture, {}, parts)
    assert caught.value.hint


def test_a_flow_can_be_the_base():
    parts = {
        "base": {"architecture": "coupling", "config": {"dim": 2, "blocks": 2, "hidden": 8}},
        "critic": {"architecture": "mlp-energy", "config": {"hidden": [8]}},
    }
    model, x = build("vaebm", {}, parts).eval(), moons(5)
    with torch.no_grad():
        torch.testing.assert_close(model.log_prob(x), model.parts["base"].log_prob(x) + model.parts["critic"].score(x))
