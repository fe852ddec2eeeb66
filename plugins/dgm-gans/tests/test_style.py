"""The style generator: modulation and its variance, truncation, noise of layers, the mean of codes; its critic."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from dgm_gans.models import StyleGAN
from dgm_gans.style import MappingNetwork, ModulatedConv, ResidualCritic, RunningMean
from dgm_gans.training import renormalize

from dgmcore.errors import DgmError, OptionError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise


@pytest.fixture
def model():
    """A small model whose layers' noises have a strength, and codes a mean."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = StyleGAN({"q": 4, "code": 6, "depth": 2, "widths": [8, 6, 4]}).eval()
    with torch.no_grad():
        for layer in model.generator.layers:
            layer.strength.fill_(0.5)
        model.generator.mean.mean.copy_(torch.linspace(-1, 1, 6))
    return model


@pytest.mark.parametrize("demodulate", [True, False])
def test_a_modulated_convolution_is_one_with_modulated_weights(demodulate):
    conv = ModulatedConv(5, 3, 4, 3, gain=1.5, demodulate=demodulate).double()
    noise = StreamNoise(0, 2, dtype=torch.float64)
    x, code = noise.normal(5, 6, 6), noise.normal(4)
    got = conv(x, code)
    for one, style, y in zip(x, conv.style(code), got, strict=True):
        weight = conv.weight * style[None, :, None, None]
        norm = weight.square().sum((1, 2, 3), keepdim=True).sqrt() if demodulate else 45**0.5  # 5 inputs of 3x3
        want = F.conv2d(one[None], 1.5 * weight / norm, padding=1)[0]
        assert torch.allclose(y, want, atol=1e-6), (
            "a scale for each input channel, and the norm of each output's weights"
        )


@torch.no_grad()
def test_demodulation_gives_unit_variance_whatever_the_style():
    x = StreamNoise(0, 8).normal(16, 32, 32)
    codes = 5 * StreamNoise(1, 8).normal(4)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        with_it, without = (ModulatedConv(16, 6, 4, 3, demodulate=d) for d in (True, False))
    inside = (slice(None), slice(None), slice(1, -1), slice(1, -1))  # the border sees zeros
    assert torch.allclose(with_it(x, codes)[inside].var((2, 3)), torch.ones(8, 6), atol=0.15)
    assert float(without(x, codes)[inside].var((2, 3)).std()) > 1


def test_codes_do_not_depend_on_the_length_of_z():
    mapping, z = MappingNetwork(4, 6, 2), IndexedNoise(0, 3).normal(4)
    assert torch.allclose(mapping(z), mapping(7 * z), atol=1e-5)
    assert not torch.allclose(mapping(z), mapping(-z), atol=1e-2)


@torch.no_grad()
def test_truncation_zero_gives_one_picture_up_to_the_noise_of_layers(model):
    eps = IndexedNoise(0, 4).named(model.noise_shapes)
    still = {name: e if name == "z" else e[:1].expand_as(e) for name, e in eps.items()}
    pictures = model.generator(still, truncation=0.0)
    assert torch.allclose(pictures, pictures[:1].expand_as(pictures), atol=1e-6)
    assert float(model.generator(still).std(0).max()) > 0.1, "without truncation z counts"
    assert float(model.sample(IndexedNoise(0, 4), truncation=0.0).std(0).max()) > 0.01, "the noise of layers stays"


@torch.no_grad()
def test_truncation_moves_codes_to_their_mean(model):
    seen = []
    model.generator.layers[0].register_forward_pre_hook(lambda module, args: seen.append(args[1]))
    for psi in (1.0, 0.5, 0.0):
        model.sample(IndexedNoise(0, 3), truncation=psi)
    mean = model.generator.mean.mean
    assert torch.allclose(seen[1] - mean, 0.5 * (seen[0] - mean), atol=1e-6)
    assert torch.allclose(seen[2], mean.expand(3, -1), atol=1e-6)


@pytest.mark.parametrize("psi", [-0.1, 1.5])
def test_truncation_is_a_share(model, psi):
    with pytest.raises(OptionError, match="truncation"):
        model.sample(IndexedNoise(0, 1), truncation=psi)


@torch.no_grad()
def test_each_layer_has_noise_of_its_own(model):
    assert model.noise_shapes == {
        "z": (4,),
        "noise0": (1, 4, 4),
        **{f"noise{i}": (1, 8, 8) for i in (1, 2)},
        **{f"noise{i}": (1, 16, 16) for i in (3, 4)},
    }
    eps = IndexedNoise(0, 2).named(model.noise_shapes)
    picture = model.push(eps)
    for name in model.noise_shapes:
        assert not torch.allclose(model.push({**eps, name: -eps[name]}), picture, atol=1e-3), name
    for layer in model.generator.layers:
        layer.strength.zero_()
    assert torch.equal(model.push({name: e if name == "z" else -e for name, e in eps.items()}), model.push(eps))


def test_a_running_mean_follows_in_training_and_is_measured_anew_at_the_end(model):
    mean = RunningMean(2, momentum=0.25)
    x = torch.tensor([[1.0, 2.0], [3.0, 6.0]])
    assert torch.allclose(mean(x), torch.tensor([0.5, 1.0])), "a quarter of the way from 0 to (2, 4)"
    assert torch.allclose(mean.eval()(x), torch.tensor([0.5, 1.0]))
    renormalize(model)
    codes = model.generator.mapping(StreamNoise(9, 20_000).normal(4)).detach()
    assert torch.allclose(model.generator.mean.mean, codes.mean(0), atol=0.05)
    assert model.generator.mean.momentum == 0.005


@pytest.mark.parametrize("widths", [[4], [6, 4], [4, 4, 4, 4, 4]])
def test_widths_say_the_size(widths):
    model = StyleGAN({**StyleGAN.example, "channels": 2, "widths": widths, "critic_widths": widths[::-1]}).eval()
    x = model.sample(IndexedNoise(0, 2))
    assert x.shape == (2, *model.event_shape) == (2, 2, *[4 * 2 ** (len(widths) - 1)] * 2)
    assert model.score(x).shape == (2,)


def test_players_of_different_sizes_are_refused():
    with pytest.raises(DgmError, match="critic has 1 resolutions, its generator 2"):
        StyleGAN({**StyleGAN.example, "critic_widths": [4]})


@pytest.mark.parametrize("deviation", [False, True])
def test_scores_do_not_depend_on_the_batch(deviation):
    critic = ResidualCritic(3, [6, 4], deviation)
    x = StreamNoise(0, 5).normal(3, 8, 8)
    alone = torch.cat([critic(one) for one in x.split(1)])
    assert torch.allclose(critic(x), alone, atol=1e-5) is not deviation, "in training the deviation is the batch's"
    alone = torch.cat([critic.eval()(one) for one in x.split(1)])
    assert torch.allclose(critic(x), alone, atol=1e-5)


def test_both_players_learn_in_half_precision():
    model = StyleGAN({**StyleGAN.example, "minibatch_deviation": True})
    x = StreamNoise(0, 3).normal(*model.event_shape).requires_grad_()
    with torch.autocast("cpu", torch.bfloat16):
        score = model.score(x + model.push(StreamNoise(1, 3).named(model.noise_shapes))).float().mean()
    (grad,) = torch.autograd.grad(score, x, create_graph=True)
    grad.square().sum().backward()
    wanting = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]
    # the gradient of a logit knows nothing of the last biases
    assert set(wanting) <= {"discriminator.last.bias"}


def test_a_recipe_for_pictures_of_ones_own_is_of_their_size():
    for size in (8, 32, 64, 256):
        config = StyleGAN.starter((1, size, size))["config"]
        assert config["channels"] == 1 and 4 * 2 ** (len(config["widths"]) - 1) == size
    assert StyleGAN.starter((1, 28, 28)) == {} == StyleGAN.starter((2,))
