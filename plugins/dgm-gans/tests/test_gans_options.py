"""What each option of the GANs and of their training phases does, where the right value is known."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_gans.losses import LOSSES, Hinge, KernelMMD, WassersteinGP, gradient_penalty
from dgm_gans.models import DCGAN, GAN, MLPGAN, RHGAN, StyleGAN
from dgm_gans.networks import (
    ConvDiscriminator,
    ConvGenerator,
    MinibatchDeviation,
    RHDiscriminator,
    RHGenerator,
    mlp,
    start_of,
)
from dgm_gans.style import (
    EqualConv,
    EqualLinear,
    MappingNetwork,
    ModulatedConv,
    ResidualBlock,
    ResidualCritic,
    RunningMean,
    StyleGenerator,
    StyleLayer,
)
from dgm_gans.training import AdversarialPhase, CriticPhase, blur, copy_generator, renormalize
from torch import nn
from torch.nn import functional as F

from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise

N = 3000
X = StreamNoise(7, N, scope="data").normal(2)


@pytest.mark.parametrize("name", ["dcgan", "mlp-gan", "rh-gan", "stylegan"])
def test_defaults_are_those_of_the_page(documented, name):
    documented(name)


def linear(w=(3.0, -4.0), generator=0.0):
    """A critic x @ w, and a generator that multiplies its noise."""
    model = MLPGAN({"hidden": []})
    with torch.no_grad():
        model.discriminator[0][0].weight.copy_(torch.tensor([w]))
        model.generator[0].weight.copy_(generator * torch.eye(2))
        for layer in (model.discriminator[0][0], model.generator[0]):
            layer.bias.zero_()
    return model


def phase_of(model, **options):
    return AdversarialPhase(model, AdversarialPhase.Options(**options))


# --- the game ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("steps", [None, 1, 5])
def test_the_critic_moves_so_often_on_fresh_data(recorder, steps):
    phase = phase_of(linear(), **({} if steps is None else {"critic_steps": steps}))
    phase.step(step := recorder(X))
    assert len(step.losses["discriminator"]) == (steps or 1) == step.batches and len(step.losses["generator"]) == 1


@pytest.mark.parametrize("name", sorted(LOSSES))
def test_each_loss_is_the_one_that_is_named(recorder, name):
    model = linear((0.5, 0.2), generator=2.0)
    phase = phase_of(model, loss=name, penalty=0.0, instance_noise=0.0)
    if phase.loss.clip is not None:
        phase.loss.clip = 1.0
    phase.step(step := recorder(X))
    w = torch.tensor([0.5, 0.2])
    real, fake = X @ w, 2 * StreamNoise(1, N, scope="step0").named(model.noise_shapes)["z"] @ w
    loss = LOSSES[name](AdversarialPhase.Options())
    want = float(loss.discriminator(real, fake))
    assert step.losses["discriminator"] == [pytest.approx(want, abs=0.02)]
    generator = float(loss.generator_against(fake, lambda: real))
    assert step.losses["generator"] == [pytest.approx(generator, abs=0.1)]
    assert step.logged == {
        "discriminator": pytest.approx(want, abs=0.02),
        "generator": pytest.approx(generator, abs=0.1),
    }


@pytest.mark.parametrize("smoothing", [None, 0.0, 0.1, 0.5])
def test_labels_of_data_are_smoothed(recorder, smoothing):
    for name in ("saturating", "non-saturating"):
        phase = phase_of(linear((0.0, 0.0)), loss=name, **({} if smoothing is None else {"smoothing": smoothing}))
        s, d = smoothing or 0.0, 1.5
        phase.model.discriminator[0][0].bias.data.fill_(d)
        phase.step(step := recorder(X))
        want = (1 - s) * math.log1p(math.exp(-d)) + s * math.log1p(math.exp(d)) + math.log1p(math.exp(d))
        assert step.losses["discriminator"] == [pytest.approx(want, rel=1e-5)]


@pytest.mark.parametrize("weight", [None, 0.0, 2.0])
@pytest.mark.parametrize("name", ["wasserstein-gp", "mmd", "hinge"])
def test_the_gradient_penalty_has_its_weight(recorder, name, weight):
    phase = phase_of(linear(), loss=name, **({} if weight is None else {"penalty": weight}))
    phase.step(step := recorder(X))
    without = phase_of(linear(), loss=name, penalty=0.0)
    without.step(plain := recorder(X))
    extra = step.losses["discriminator"][0] - plain.losses["discriminator"][0]
    want = 0.0 if name == "hinge" else 16 * (10.0 if weight is None else weight)  # the critic's slope is 5
    assert extra == pytest.approx(want, rel=1e-3, abs=1e-3)


def test_the_penalty_is_on_the_lines_between_data_and_samples():
    seen = []
    real, fake = torch.full((N, 2), 1.0), torch.full((N, 2), 5.0)
    gradient_penalty(lambda x: seen.append(x.detach()) or x.sum(1), real, fake, StreamNoise(0, N))
    (x,) = seen
    assert torch.allclose(x[:, 0], x[:, 1]) and float(x.min()) < 1.05 and float(x.max()) > 4.95
    assert float(x.mean()) == pytest.approx(3.0, abs=0.1) and float(x.std()) == pytest.approx(4 / 12**0.5, abs=0.05)
    assert float(gradient_penalty(lambda x: x @ torch.tensor([0.3, 0.4]), real, fake, StreamNoise(0, N))) == (
        pytest.approx(0.25)
    )


@pytest.mark.parametrize("options", [{}, {"r1": 2.0}, {"r1": 4.0, "r1_every": 3}])
def test_r1_is_half_its_weight_times_the_squared_slope_on_data(recorder, options):
    found = []
    for index in range(4):
        phase = phase_of(linear(), loss="wasserstein-gp", penalty=0.0, **options)
        phase.step(step := recorder(X, index=index))
        phase_of(linear(), loss="wasserstein-gp", penalty=0.0).step(plain := recorder(X, index=index))
        found.append(step.losses["discriminator"][0] - plain.losses["discriminator"][0])
        assert ("r1" in step.logged) is (found[-1] > 1)
    every, r1 = options.get("r1_every", 1), options.get("r1", 0.0)
    want = [every * r1 / 2 * 25 if index % every == 0 else 0.0 for index in range(4)]
    assert found == pytest.approx(want, rel=1e-3, abs=1e-3)


@pytest.mark.parametrize(
    ("name", "clip", "bound"),
    [
        ("hinge", None, 4.0),
        ("hinge", 0.5, 0.5),
        ("wasserstein", None, 0.01),
        ("wasserstein", 0.3, 0.3),
        ("wasserstein-gp", None, 4.0),
    ],
)
def test_weights_are_clipped_where_asked(recorder, name, clip, bound):
    phase = phase_of(linear(), loss=name, **({} if clip is None else {"clip": clip}))
    phase.step(recorder(X))
    assert max(float(p.detach().abs().max()) for p in phase.model.discriminator.parameters()) == pytest.approx(bound)


@pytest.mark.parametrize(
    ("options", "progress", "std"),
    [
        ({}, 0.0, 0.0),
        ({"instance_noise": 2.0}, 0.0, 2.0),
        ({"instance_noise": 2.0}, 0.75, 0.5),
        ({"instance_noise": 2.0, "noise_until": 0.5}, 0.25, 1.0),
        ({"instance_noise": 2.0, "noise_until": 0.5}, 0.5, 0.0),
    ],
)
def test_noise_on_all_that_is_seen_goes_to_zero(recorder, options, progress, std):
    model, seen = linear(), []
    model.discriminator.register_forward_pre_hook(lambda module, x: seen.append(x[0].detach()))
    phase_of(model, **options).step(recorder(torch.zeros(N, 2), progress=progress))
    assert [float(x.std()) for x in seen] == pytest.approx([std] * 3, abs=0.05)
    assert std == 0 or abs(float((seen[0] * seen[1]).mean())) < 0.2 * std**2, "not the same noise"


def test_the_generator_starts_from_an_entry_where_asked(monkeypatch, recorder):
    import dgm_gans.training as module

    asked = []
    monkeypatch.setattr(module, "copy_generator", lambda generator, entry: asked.append((generator, entry)))
    phase_of(linear()).setup(recorder(X))
    assert not asked
    phase = phase_of(linear(), generator_from="a-vae")
    phase.setup(recorder(X))
    assert asked == [(phase.model.generator, "a-vae")]


def test_the_other_player_is_held_and_a_phase_ends_in_new_statistics():
    phase = phase_of(DCGAN(DCGAN.example))
    norms = [m for m in phase.model.generator.modules() if isinstance(m, nn.BatchNorm2d)]
    momenta = [m.momentum for m in norms]
    phase.finish()
    assert [m.momentum for m in norms] == momenta and all(int(m.num_batches_tracked) == 100 for m in norms)
    renormalize(phase.model, batches=3, size=5)
    assert all(int(m.num_batches_tracked) == 3 for m in norms)
    renormalize(linear())  # nothing to measure


def test_copies_are_of_tensors_in_the_same_order(monkeypatch):
    import dgm_gans.training as module

    source, target = mlp([2, 4, 2]), mlp([2, 4, 2])
    monkeypatch.setattr(module, "load", lambda name: nn.Sequential(mlp([4, 2, 2]), source))
    copy_generator(target, "x")
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))


@pytest.mark.parametrize("options", [{}, {"instance_noise": 1.5}, {"clip": 0.25}])
def test_the_last_words_of_the_discriminator(recorder, options):
    model, seen = linear((0.5, 0.0), generator=2.0), []
    phase = CriticPhase(model, CriticPhase.Options(**options))
    model.discriminator.register_forward_pre_hook(lambda module, x: seen.append(x[0].detach()))
    phase.step(step := recorder(X))
    spread = options.get("instance_noise", 0.0)
    assert [float(x.std()) for x in seen] == pytest.approx([math.hypot(1, spread), math.hypot(2, spread)], rel=0.05)
    slope = float(model.discriminator[0][0].weight.detach()[0, 0])
    assert slope == options.get("clip", 0.5) and not model.training
    want = F.softplus(-seen[0] @ torch.tensor([slope, 0.0])).mean() + F.softplus(seen[1][:, 0] * slope).mean()
    assert step.losses["model"] == [pytest.approx(float(want), rel=1e-5)]
    assert step.logged["discriminator"] == pytest.approx(float(want), rel=1e-5)
    assert {id(p) for p in phase.parameters()["model"]} == {id(p) for p in model.discriminator.parameters()}
    assert phase.averaged() is model.discriminator


def test_blur_adds_noise_of_its_deviation():
    assert blur(X, 0.0, StreamNoise(0, N)) is X
    assert float((blur(X, 0.5, StreamNoise(0, N)) - X).std()) == pytest.approx(0.5, rel=0.03)


@pytest.mark.parametrize("shift", [0.0, 1.0, 4.0])
def test_validation_is_the_energy_distance(shift):
    model = linear(generator=1.0)
    phase = phase_of(model)
    y = IndexedNoise(0, 400).named(model.noise_shapes)["z"]
    x = X[:400] + shift
    found = float(phase.validate(x, IndexedNoise(0, 400)).mean())

    def d(a, b):
        return (torch.cdist(a, b).square() + 0.1).sqrt()

    def others(a):
        return float((d(a, a).sum() - len(a) * 0.1**0.5) / (len(a) * (len(a) - 1)))

    assert found == pytest.approx((2 * float(d(x, y).mean()) - others(x) - others(y)) / 4, abs=1e-4)


# --- architectures -----------------------------------------------------------------------------------


@pytest.mark.parametrize("spectral", [False, True])
def test_spectral_normalisation_bounds_every_layer(spectral):
    for model in (
        MLPGAN({"hidden": [8, 8], "spectral_norm": spectral}),
        DCGAN({**DCGAN.example, "spectral_norm": spectral}),
    ):
        layers = [m for m in model.discriminator.modules() if isinstance(m, nn.Linear | nn.Conv2d)]
        for layer in layers:
            layer.weight  # noqa: B018
        normed = [bool(getattr(m, "parametrizations", None)) for m in layers]
        assert set(normed) == {spectral} and not any(
            isinstance(m, nn.BatchNorm2d) for m in model.discriminator.modules() if spectral
        )
        assert not any(getattr(m, "parametrizations", None) for m in model.generator.modules())


@pytest.mark.parametrize(
    ("size", "base", "doublings"), [(28, 7, 2), (32, 4, 3), (64, 4, 4), (6, 6, 0), (12, 6, 1), (9, 9, 0), (14, 7, 1)]
)
def test_pictures_start_at_four_to_seven(size, base, doublings):
    assert start_of(size) == (base, doublings)


@pytest.mark.parametrize(("width", "discriminator"), [(4, None), (4, 6)])
def test_widths_double_towards_the_low_resolutions(width, discriminator):
    model = DCGAN({"q": 3, "size": 32, "channels": 2, "width": width, "discriminator_width": discriminator})
    ups = [m for m in model.generator.modules() if isinstance(m, nn.ConvTranspose2d)]
    downs = [m for m in model.discriminator.modules() if isinstance(m, nn.Conv2d)]
    assert [m.in_channels for m in ups] == [4 * width, 2 * width, width] and ups[-1].out_channels == 2
    w = discriminator or width
    assert [m.out_channels for m in downs] == [w, 2 * w, 4 * w] and model.noise_shapes == {"z": (3,)}


def test_the_minibatch_deviation_is_there_where_asked():
    for asked in (False, True):
        dcgan = DCGAN({**DCGAN.example, "minibatch_deviation": asked})
        style = StyleGAN({**StyleGAN.example, "minibatch_deviation": asked})
        for model in (dcgan, style):
            assert any(isinstance(m, MinibatchDeviation) for m in model.discriminator.modules()) is asked
            assert model.score(torch.zeros(3, *model.event_shape)).shape == (3,)
    layer = MinibatchDeviation(momentum=0.5)
    layer(torch.tensor([0.0, 4.0]).view(2, 1, 1, 1))
    assert float(layer.running) == pytest.approx(1.5), "half of the way from 1 to 2"
    assert MinibatchDeviation().momentum == 0.01


def test_the_published_networks_are_their_formulas():
    torch.manual_seed(0)
    x, d = torch.rand(3, 1, 28, 28), RHDiscriminator().eval()
    h = F.leaky_relu(d.bn1(d.conv1(2 * x - 1)), 0.2)
    h = F.leaky_relu(d.bn2(d.conv2(h)), 0.2)
    assert torch.allclose(d(x), d.fc(h.flatten(1))[:, 0])
    g, z = RHGenerator(3).eval(), torch.randn(2, 3)
    h = g.conv2(F.relu(g.bn2(g.fc(z).view(2, 64, 7, 7))))
    assert torch.allclose(g(z), torch.sigmoid(g.conv1(F.relu(g.bn1(h))))) and RHGAN({"q": 5}).q == 5
    conv = ConvGenerator(3, 1, 8, 4)
    assert abs(float(conv.fc.weight.std()) - 0.02) < 0.003
    deep = ConvDiscriminator(1, 8, 4, spectral=False, deviation=False, normalize=True)
    assert isinstance(deep.layers[1], nn.LeakyReLU) and deep.layers[1].negative_slope == 0.2


def test_noise_is_cut_only_where_asked():
    model = linear(generator=1.0)
    eps = IndexedNoise(0, N).named(model.noise_shapes)["z"]
    assert isinstance(model, GAN) and torch.equal(model.sample(IndexedNoise(0, N)), model.push({"z": eps}))
    cut = model.sample(IndexedNoise(0, N), truncation=0.7)
    assert float(cut.detach().abs().max()) <= 0.7 and torch.equal(cut.argsort(0), eps.argsort(0))


# --- styles ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("gain", "rate", "bias"), [(1.0, 1.0, 0.0), (2.0, 0.01, 1.5)])
def test_layers_of_equal_rate_keep_the_variance(gain, rate, bias):
    torch.manual_seed(0)
    layer = EqualLinear(200, 300, gain=gain, rate=rate, bias=bias)
    y = layer(torch.randn(400, 200))
    assert float(y.mean()) == pytest.approx(bias, abs=0.05) and float(y.std()) == pytest.approx(gain, rel=0.05)
    y.sum().backward()
    step = layer.bias.grad / 400
    assert torch.allclose(step, torch.full((300,), rate)), "small ones learn slowly"
    conv = EqualConv(16, 64, 3, gain=gain)
    inside = conv(torch.randn(20, 16, 12, 12))[..., 1:-1, 1:-1]
    assert float(inside.std()) == pytest.approx(gain, rel=0.08) and EqualConv(2, 3, 1, bias=False).bias is None


@torch.no_grad()
def test_signals_keep_their_size_through_the_networks():
    torch.manual_seed(0)
    codes = MappingNetwork(64, 128, 4)(torch.randn(500, 64))
    assert float(codes.square().mean()) == pytest.approx(1.0, rel=0.25)
    block = ResidualBlock(32, 32)(torch.randn(20, 32, 16, 16))
    assert 0.2 < float(block.square().mean()) < 1.5 and block.shape == (20, 32, 8, 8)
    critic = ResidualCritic(3, [16, 8])
    assert critic(torch.randn(50, 3, 8, 8)).square().mean() < 10
    layer = StyleLayer(16, 16, 8, True)
    y = layer(torch.randn(20, 16, 8, 8), torch.zeros(20, 8), torch.zeros(20, 1, 16, 16))
    assert y.shape == (20, 16, 16, 16) and 0.2 < float(y.square().mean()) < 2.0
    generator = StyleGenerator(4, 8, 2, 3, [16, 16, 8])
    eps = {"z": torch.randn(50, 4), **{k: torch.randn(50, *s) for k, s in generator.noise_shapes.items()}}
    assert 0.05 < float(generator(eps).std()) < 0.9, "well inside the range"


def test_style_networks_have_the_sizes_they_are_asked_for():
    model = StyleGAN({"q": 3, "code": 5, "depth": 6, "channels": 2, "widths": [8, 6], "critic_widths": [7, 4]})
    assert len(model.generator.mapping.layers) == 6 and model.generator.mapping.layers[0].weight.shape == (5, 3)
    assert [layer.conv.weight.shape[:2] for layer in model.generator.layers] == [(8, 8), (6, 8), (6, 6)]
    assert model.discriminator.start.weight.shape == (4, 2, 1, 1) and model.discriminator.conv.weight.shape[0] == 7
    conv = ModulatedConv(3, 2, 5, 3)
    assert (conv.style.bias == 1).all() and conv.demodulate and conv.gain == 1.0, "styles start around 1"


def test_a_running_mean_is_plain_without_a_momentum():
    mean = RunningMean(1, momentum=None)
    for value in (1.0, 2.0, 6.0):
        mean(torch.tensor([[value]]))
    assert float(mean.mean) == pytest.approx(3.0) and mean.batches == 3
    mean.reset_running_stats()
    assert (mean.batches, float(mean.mean)) == (0, 0.0)
    slow = RunningMean(1)
    slow(torch.tensor([[100.0]]))
    assert float(slow.mean) == pytest.approx(0.5), "half a percent of the way"


def test_the_defaults_of_losses():
    assert (KernelMMD().weight, WassersteinGP().weight, Hinge().clip) == (10.0, 10.0, None)
