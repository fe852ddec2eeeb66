"""NVAE: the structure of the published code, its distributions and its training."""

from __future__ import annotations

import json
import math

import pytest
import torch
from dgm_vaes.convert import nvae_config, nvae_state
from dgm_vaes.distributions import DiscretizedLogistics, Gaussian
from dgm_vaes.nvae import NVAE
from dgm_vaes.nvae.flows import FlowPair
from dgm_vaes.nvae.layers import Conv2d, FactorizedReduce, Style, Upsample
from dgm_vaes.nvae.training import HierarchicalELBO, SpectralNorms, balance
from torch import nn
from torch.func import jacrev

from dgmcore.errors import RegistryError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise

SMALL = {"event_shape": [3, 16, 16], "channels": 8, "latents": 3, "groups": [2, 1], "scales": 2, "expand": 2}


def small(**config) -> NVAE:
    torch.manual_seed(0)
    return NVAE({**SMALL, "encoder_cells": 1, "decoder_cells": 1, **config}).eval()


@pytest.mark.parametrize(
    "config, parameters, groups",
    [
        ({"channels": 48, "scales": 3, "groups": 5, "flows": 1}, 65_005_372, 15),  # CelebA 64, VAEBM's base
        ({"event_shape": [3, 32, 32], "channels": 128, "scales": 1, "groups": 30, "flows": 1}, 130_744_004, 30),
    ],
)
def test_published_sizes(config, parameters, groups):
    with torch.device("meta"):
        model = NVAE(config)
    assert model.num_parameters() == parameters
    assert len(model.noise_shapes["z"]) == groups


@pytest.mark.parametrize("name", ["nvae_small", "nvae_small_nf_dmol"])
def test_published_checkpoints_map_tensor_by_tensor(reference, name):
    shapes = {k: tuple(v) for k, v in json.loads((reference / "keys" / "nvae_vaebm.json").read_text())[name].items()}
    config = nvae_config(shapes)
    own = {k: tuple(v.shape) for k, v in NVAE(config).state_dict().items()}
    assert nvae_state(shapes, config["flows"]) == own
    assert config["decoder"] == ("logistics" if "dmol" in name else "gaussian")


def test_clamped_normal():
    zero = torch.zeros(1, 1)
    prior = Gaussian.clamped(zero, zero)
    assert prior.sigma.item() == pytest.approx(1.01)
    wide = Gaussian.clamped(zero + 1000, zero - 1000)
    assert wide.mu.item() == pytest.approx(5.0)
    assert wide.sigma.item() == pytest.approx(math.exp(-5) + 0.01)
    z, q = torch.randn(100_000, 2), Gaussian.clamped(torch.tensor([[0.3, -1.0]]), torch.tensor([[-0.5, 0.2]]))
    sampled = q.log_prob(q.push(z)) - Gaussian.clamped(torch.zeros(1, 2), torch.zeros(1, 2)).log_prob(q.push(z))
    assert sampled.mean().item() == pytest.approx(q.kl(prior).item(), rel=0.02)


@pytest.mark.parametrize("channels, levels", [(1, 256), (3, 6)])
def test_discretised_logistics_sum_to_one(channels, levels):
    k = 4
    logits = torch.randn(1, k * (1 + channels * (3 if channels == 3 else 2)), 1, 1, dtype=torch.float64)
    values = torch.linspace(-1, 1, levels, dtype=torch.float64)
    x = torch.cartesian_prod(*[values] * channels).reshape(-1, channels, 1, 1)
    p = DiscretizedLogistics(logits.expand(len(x), -1, -1, -1), channels, levels)
    assert p.log_prob(x).exp().sum().item() == pytest.approx(1.0, abs=1e-6)


def test_discretised_logistics_draw_what_they_measure():
    logits = torch.tensor([0.5, -0.5, -0.6, 0.4, -2.0, -1.5]).view(1, 6, 1, 1)  # two mixtures, one channel
    n, levels = 60_000, 8
    p = DiscretizedLogistics(logits.expand(n, -1, -1, -1), 1, levels)
    values = torch.linspace(-1, 1, levels)
    mass = DiscretizedLogistics(logits.expand(levels, -1, -1, -1), 1, levels).log_prob(values.view(-1, 1, 1, 1)).exp()
    draws = p.push(torch.randn(n, 2, 1, 1)).flatten()
    nearest = ((draws + 1) / 2 * (levels - 1)).round().long().clamp(0, levels - 1)
    assert (torch.bincount(nearest, minlength=levels) / n - mass).abs().max() < 0.01
    assert p.mean()[0].item() == pytest.approx(draws.mean().item(), abs=0.02)


def test_discretised_logistics_of_colours_draw_what_they_measure():
    generator = torch.Generator().manual_seed(0)
    n, levels = 60_000, 3
    logits = torch.randn(1, 20, 1, 1, generator=generator)  # two mixtures, three channels
    grid = torch.cartesian_prod(*[torch.linspace(-1, 1, levels)] * 3).view(-1, 3, 1, 1)
    mass = DiscretizedLogistics(logits.expand(len(grid), -1, -1, -1), 3, levels).log_prob(grid).exp()
    draws = DiscretizedLogistics(logits.expand(n, -1, -1, -1), 3, levels).push(
        torch.randn(n, 4, 1, 1, generator=generator)
    )
    # green and blue are drawn given the continuous channels, so only red's own levels are the measured ones
    red = ((draws[:, 0, 0, 0] + 1) / 2 * (levels - 1)).round().long()
    assert (torch.bincount(red, minlength=levels) / n - mass.view(levels, -1).sum(1)).abs().max() < 0.01
    # one narrow mixture: what is drawn is all but certain only if both shift green and blue alike ([1], eq. 3)
    narrow = torch.randn(500, 10, 1, 1, generator=generator) * 0.4
    narrow[:, 2::3] = -6.0  # the log scale of each channel
    p = DiscretizedLogistics(narrow)
    assert p.log_prob(p.push(torch.randn(500, 4, 1, 1, generator=generator))).median() > -6.0


def test_a_level_far_from_the_mean_has_the_right_log_probability():
    logits = torch.tensor([0.0, 0.8, -6.0]).view(1, 3, 1, 1)  # one narrow logistic; float32 has no mass at -0.2
    x = torch.tensor([[[[-51 / 255]]]])
    said = DiscretizedLogistics(logits, 1).log_prob(x).item()
    s, distance = math.exp(6.0), 0.8 + 51 / 255
    exact = -s * distance + math.log(math.exp(s / 255) - math.exp(-s / 255))  # the logistic's tail is exponential
    assert said == pytest.approx(exact, abs=0.5)  # the density at the centre times the width stands for the mass
    assert said < -300


def test_flow_cells_preserve_volume():
    flow = FlowPair(2).double()
    z = torch.randn(1, 2, 4, 4, dtype=torch.float64)
    cell = jacrev(lambda z: flow.first(z))(z).reshape(32, 32)
    order = torch.arange(32).view(2, 16).T.flatten()  # pixel by pixel, the channels inside
    cell = cell[order][:, order]
    torch.testing.assert_close(cell, cell.tril())
    torch.testing.assert_close(cell.diagonal(), torch.ones(32, dtype=torch.float64))
    assert (cell - torch.eye(32)).abs().max() > 1e-3
    both = jacrev(flow)(z).reshape(32, 32)
    assert torch.linalg.slogdet(both).logabsdet.abs() < 1e-10
    assert both.triu(1).abs().max() > 1e-4 and both.tril(-1).abs().max() > 1e-4  # sees both sides


def test_weight_norm_is_cached_until_the_weights_change():
    conv, x = Conv2d(3, 4, 3, padding=1), torch.randn(2, 3, 5, 5)
    w = conv.log_weight_norm.exp() * conv.weight / (conv.weight.flatten(1).norm(dim=1).view(-1, 1, 1, 1) + 1e-5)
    expected = nn.functional.conv2d(x, w, conv.bias, padding=1)
    conv.eval()
    with torch.no_grad():
        torch.testing.assert_close(conv(x), expected)
        assert conv.normalized_weight() is conv.normalized_weight()
        conv.log_weight_norm += math.log(2.0)
        torch.testing.assert_close(conv(x) - conv.bias.view(-1, 1, 1), 2 * (expected - conv.bias.view(-1, 1, 1)))
    conv(x).sum().backward()
    assert conv.weight.grad is not None and conv.log_weight_norm.grad is not None


def test_weight_norm_is_not_stale_after_a_fused_optimizer():
    conv, x = Conv2d(3, 4, 3, padding=1).eval(), torch.randn(2, 3, 5, 5)
    with torch.no_grad():
        before = conv(x)
    conv.train()
    adam = torch.optim.Adam(conv.parameters(), 0.1, fused=True)  # counts no new version of what it changes
    conv(x).sum().backward()
    adam.step()
    with torch.no_grad():
        trained = conv(x)
        assert not torch.allclose(trained, before, atol=1e-3)
        torch.testing.assert_close(conv.eval()(x), trained)


def test_skips():
    x = torch.randn(1, 4, 6, 6)
    up = Upsample(4, 2, Style())
    aligned = nn.functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
    torch.testing.assert_close(up(x), up.conv(aligned), atol=1e-6, rtol=1e-5)
    down = FactorizedReduce(4, 8, Style())
    swish = nn.functional.silu(x)
    shifted = (swish, swish[:, :, 1:, 1:], swish[:, :, :, 1:], swish[:, :, 1:, :])
    torch.testing.assert_close(down(x), torch.cat([c(s) for c, s in zip(down.convs, shifted, strict=True)], 1))


@pytest.mark.parametrize("decoder", ["gaussian", "logistics", "bernoulli"])
@pytest.mark.parametrize("flows", [0, 1])
def test_bound_by_importance_sampling_is_above_the_elbo(decoder, flows):
    image = 1 if decoder == "bernoulli" else 3
    model = small(decoder=decoder, flows=flows, mixtures=2, event_shape=[image, 12, 12], pad=2)
    x = torch.rand(8, image, 12, 12) * 0.98
    with torch.no_grad():
        assert model.log_prob(x, k=20).mean() > model.log_prob(x).mean()
        z = model.encode(x)
        assert {k: tuple(v.shape[1:]) for k, v in z.items()} == model.noise_shapes["z"]
        assert model.decode(z).shape == x.shape
        assert model.sample(IndexedNoise(0, 2)).shape == (2, image, 12, 12)


def test_temperature_scales_the_noise_of_the_prior():
    model = small()
    noise = IndexedNoise(3, 4).named(model.noise_shapes)
    cold = model.push({"z": {k: 0.5 * v for k, v in noise["z"].items()}})
    torch.testing.assert_close(cold, model.sample(IndexedNoise(3, 4), temperature=0.5, mean=True))


def test_scales_have_temperatures_of_their_own():
    hot, cool = small(), small(temperatures=[0.2, 0.9])
    eps = IndexedNoise(3, 4).named(hot.noise_shapes)["z"]
    scaled = {k: (0.9 if i == 0 else 0.2) * v for i, (k, v) in enumerate(eps.items())}  # the coarsest comes first
    torch.testing.assert_close(cool.push({"z": eps}), hot.push({"z": scaled}))
    x = torch.rand(2, 3, 16, 16)
    torch.testing.assert_close(cool.log_prob(x), hot.log_prob(x))
    with pytest.raises(RegistryError, match="temperatures has 1 values for 2 scales"):
        small(temperatures=[1.0])


def test_sigma_is_bounded_from_below():
    model = small(log_sigma_min=-1.8)
    p = model.pixels(torch.randn(2, 6, 16, 16) * 50)
    assert p.log_sigma.min() >= -1.8


def test_readjusted_statistics_are_those_of_samples():
    model = small()
    before = {k: v.clone() for k, v in model.state_dict().items()}
    plain = model.sample(IndexedNoise(0, 4), mean=True)
    adjusted = model.sample(IndexedNoise(0, 4), mean=True, readjust_bn=5)
    assert (plain - adjusted).abs().max() > 1e-3
    for name, tensor in model.state_dict().items():
        assert torch.equal(tensor, before[name]), name
    halves = [model.sample(IndexedNoise(0, 2, s), mean=True, readjust_bn=5) for s in (0, 2)]
    torch.testing.assert_close(torch.cat(halves), adjusted, atol=1e-4, rtol=0)


def test_patches_and_widths():
    model = NVAE({**SMALL, "patch": 2, "blocks": 0, "widths": [8, 12], "latents": [2, 5], "norm": "group", "expand": 0})
    assert list(model.noise_shapes["z"].values()) == [(5, 4, 4), (2, 8, 8), (2, 8, 8)]
    with pytest.raises(RegistryError, match="widths has 1 values for 3 sizes"):
        NVAE({**SMALL, "widths": [8]})
    with pytest.raises(RegistryError, match="groups has 3 values for 2 scales"):
        NVAE({**SMALL, "groups": [1, 1, 1]})
    with pytest.raises(RegistryError, match="can't be halved"):
        NVAE({**SMALL, "event_shape": [3, 18, 18]})


def test_spectral_norms_are_the_largest_singular_values():
    model = small()
    norms = SpectralNorms(model)
    for _ in range(8):
        found = norms.sum()
    convs = [m for m in model.modules() if isinstance(m, nn.Conv2d)]
    weights = [(m.normalized_weight() if isinstance(m, Conv2d) else m.weight).flatten(1) for m in convs]
    expected = sum(torch.linalg.matrix_norm(w, 2) for w in weights)
    assert found.item() == pytest.approx(expected.item(), rel=1e-2)
    found.backward()
    assert all(m.weight.grad is not None for m in convs)


def test_balance_favours_the_groups_that_say_little():
    factors = balance(torch.tensor([[1.0, 1.0], [1.0, 1.0], [8.0, 8.0]]), [1, 0, 0])
    assert factors.mean().item() == pytest.approx(1.0)
    # one group of 4 pixels' weight 1, two of them share weight 4: alpha = 1, 2, 2
    torch.testing.assert_close(factors / factors[0], torch.tensor([1.0, 0.5, 8.01 / 1.01 / 2]))


class OneStep:
    """A step of training that remembers the loss."""

    index, total, progress = 0, 10, 0.5

    def __init__(self, x):
        self.x, self.logged = x, {}

    def batch(self):
        return self.x

    def noise(self, n=None):
        return StreamNoise(0, len(self.x))

    def minimize(self, loss):
        self.loss = loss
        loss.backward()

    def log(self, **values):
        self.logged |= values


def test_training_step_reaches_every_parameter():
    model = small(flows=1).train()
    phase = HierarchicalELBO(model, HierarchicalELBO.Options(spectral=0.1, spectral_start=10.0, warmup=1.0))
    step = OneStep(torch.rand(4, 3, 16, 16))
    phase.step(step)
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.isfinite().all(), name
    assert step.logged["beta"] == pytest.approx(0.4999, abs=1e-3)
    restored = HierarchicalELBO(model, HierarchicalELBO.Options())
    restored.restore(phase.state())
    torch.testing.assert_close(restored.norms.vectors, phase.norms.vectors)


def test_weight_of_the_kl_term():
    phase = HierarchicalELBO(small(), HierarchicalELBO.Options())
    weights = [phase.kl_weight(p) for p in (0.0, 0.15, 0.5, 1.0)]
    assert weights == pytest.approx([1e-4, 0.49966666, 1.0, 1.0])


def test_published_checkpoints_become_entries(reference, tmp_path):
    import argparse

    import dgmcore
    from dgmcore.conversion.converters import convert

    shapes = json.loads((reference / "keys" / "nvae_vaebm.json").read_text())["nvae_small_nf_dmol"]
    g = torch.Generator().manual_seed(0)
    tensors = {k: torch.rand(s, generator=g) if s else torch.tensor(1) for k, s in shapes.items()}
    arguments = argparse.Namespace(res_dist=False, dataset="cifar10")
    torch.save({"state_dict": tensors, "args": arguments, "epoch": 1}, tmp_path / "checkpoint.pt")
    folder = convert(tmp_path / "checkpoint.pt", "published", "nvae", tmp_path)
    model = dgmcore.load(str(folder))
    assert model.config.residual_posterior is False and model.entry.data.dataset == "cifar10"
    assert torch.equal(model.stem.weight, tensors["stem.weight"])
    assert torch.equal(model.flows[3][0].second.shift.bias, tensors["nf_cells.3.cell2.mu.conv_0.bias"])
