"""GANs: published sizes, losses with known values, truncation, and what a WGAN's clipping promises."""

from __future__ import annotations

import json
import math

import dgm_gans.training
import pytest
import torch
from dgm_gans.losses import (
    Hinge,
    KernelMMD,
    LeastSquares,
    NonSaturating,
    Saturating,
    Wasserstein,
    WassersteinGP,
    gradient_penalty,
    r1_penalty,
)
from dgm_gans.models import DCGAN, MLPGAN, RHGAN, truncate
from dgm_gans.networks import ConvDiscriminator, MinibatchDeviation
from dgm_gans.training import AdversarialPhase, CriticPhase, copy_generator, renormalize
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from dgmcore import load
from dgmcore.cli import main
from dgmcore.config import parse
from dgmcore.errors import DgmError, OptionError
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.testing import parametrize_with_checks


@parametrize_with_checks(["gans"])
def test_conformance(check, device):
    check(device)


def test_the_published_discriminator_leaks_a_fifth():
    discriminator = RHGAN().discriminator
    x = torch.tensor([-3.0, 2.0])
    assert torch.allclose(discriminator.act(x), torch.tensor([-0.6, 2.0]))


@pytest.mark.parametrize("size", [8, 10, 12, 14, 20, 24, 28])
def test_images_of_four_to_seven_times_a_power_of_two(size):
    model = DCGAN({"q": 2, "size": size, "width": 4}).eval()
    assert model.sample(IndexedNoise(0, 2)).shape == (2, 1, size, size)


@pytest.mark.parametrize("size", [4, 6, 9, 18])
def test_images_of_other_sizes_are_refused(size):
    with pytest.raises(DgmError, match=f"images of {size} pixels"):
        DCGAN({"q": 2, "size": size, "width": 4})


def test_published_numbers_of_weights():
    model = RHGAN()
    assert sum(p.numel() for p in model.generator.parameters()) == 42_913
    assert sum(p.numel() for p in model.discriminator.parameters()) == 36_705


@pytest.mark.parametrize(("size", "channels"), [(28, 1), (32, 3), (64, 3)])
def test_dcgan_makes_the_size_it_is_asked_for(size, channels):
    model = DCGAN({"size": size, "channels": channels, "width": 8, "q": 5}).eval()
    x = model.sample(IndexedNoise(0, 2))
    assert x.shape == (2, channels, size, size)
    assert model.score(x).shape == (2,)


def test_dcgan_refuses_sizes_it_cannot_make():
    with pytest.raises(DgmError, match="45 pixels"):
        DCGAN({"size": 45})


def mean(values):
    return sum(values) / len(values)


def sigmoid(d):
    return 1 / (1 + math.exp(-d))


logits = st.lists(st.floats(-5, 5), min_size=1, max_size=6)


@given(logits, logits)
@settings(max_examples=30, deadline=None)
def test_losses_are_the_textbook_formulas(real, fake):
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    minimax = -mean([math.log(sigmoid(d)) for d in real]) - mean([math.log(1 - sigmoid(d)) for d in fake])
    expected = {
        Saturating(): (minimax, mean([math.log(1 - sigmoid(d)) for d in fake])),
        NonSaturating(): (minimax, -mean([math.log(sigmoid(d)) for d in fake])),
        LeastSquares(): (
            0.5 * mean([(d - 1) ** 2 for d in real]) + 0.5 * mean([d * d for d in fake]),
            0.5 * mean([(d - 1) ** 2 for d in fake]),
        ),
        LeastSquares(-1.0, 0.0): (
            0.5 * mean([(d - 1) ** 2 for d in real]) + 0.5 * mean([(d + 1) ** 2 for d in fake]),
            0.5 * mean([d * d for d in fake]),
        ),
        Hinge(): (mean([max(0, 1 - d) for d in real]) + mean([max(0, 1 + d) for d in fake]), -mean(fake)),
        Wasserstein(): (mean(fake) - mean(real), -mean(fake)),
    }
    for loss, (d, g) in expected.items():
        assert float(loss.discriminator(r, f)) == pytest.approx(d, abs=1e-9), type(loss).__name__
        assert float(loss.generator(f)) == pytest.approx(g, abs=1e-9), type(loss).__name__


@given(logits.filter(lambda d: len(d) > 1), logits.filter(lambda d: len(d) > 1))
@settings(max_examples=20, deadline=None)
def test_the_kernel_discrepancy_is_the_sum_over_pairs(real, fake):
    def k(a, b):
        return sum((1 + (a - b) ** 2 / (2 * alpha)) ** -alpha for alpha in (0.2, 0.5, 1, 2, 5))

    def others(d):
        return mean([k(a, b) for i, a in enumerate(d) for j, b in enumerate(d) if i != j])

    expected = others(real) + others(fake) - 2 * mean([k(a, b) for a in real for b in fake])
    r, f = torch.tensor(real, dtype=torch.float64), torch.tensor(fake, dtype=torch.float64)
    assert float(KernelMMD().generator_against(f, lambda: r)) == pytest.approx(expected, abs=1e-9)
    assert float(KernelMMD().discriminator(r, f)) == pytest.approx(-expected, abs=1e-9)


def test_label_smoothing_moves_the_best_logit():
    """With smoothing s the discriminator's loss on real data is least at sigma(d) = 1 - s."""
    d = torch.linspace(-6, 6, 2401, dtype=torch.float64)
    values = torch.stack([Saturating(0.1).discriminator(x[None], torch.tensor([-50.0])) for x in d])
    assert float(d[values.argmin()].sigmoid()) == pytest.approx(0.9, abs=2e-3)


def test_gradient_penalty_of_a_linear_critic():
    w = torch.tensor([3.0, -4.0])  # norm 5 everywhere
    real, fake = torch.randn(7, 2, generator=torch.Generator().manual_seed(0)), torch.zeros(7, 2)
    assert float(gradient_penalty(lambda x: x @ w, real, fake, StreamNoise(0, 7))) == pytest.approx(16.0, rel=1e-5)
    assert float(WassersteinGP(0.5).penalty(lambda x: x @ w, real, fake, StreamNoise(0, 7))) == pytest.approx(8.0)


def test_r1_is_the_square_of_the_gradient_on_data():
    x = torch.tensor([[3.0, 4.0], [0.0, 1.0]])
    weight = torch.tensor([3.0, -4.0], requires_grad=True)
    assert float(r1_penalty(lambda x: x @ weight, x)) == pytest.approx(25.0)
    assert float(r1_penalty(lambda x: x.square().sum(1) / 2, x)) == pytest.approx((25 + 1) / 2), "the gradient is x"
    r1_penalty(lambda x: x @ weight, x).backward()
    assert torch.allclose(weight.grad, torch.tensor([6.0, -8.0])), "it moves the critic"


def test_lazy_r1_comes_every_so_many_steps_and_is_so_much_heavier():
    model = MLPGAN({"hidden": []})
    with torch.no_grad():
        model.discriminator[0][0].weight.copy_(torch.tensor([[3.0, -4.0]]))
        for p in model.generator.parameters():
            p.zero_()

    def losses(**options):
        phase = AdversarialPhase(model, AdversarialPhase.Options(loss="hinge", **options))
        steps, found = Steps(phase, lambda i: torch.zeros(4, 2), rate=0.0), []
        for index in range(5):
            steps.seen.clear()
            steps.index = index - 1  # drawing a batch moves it on
            phase.step(steps)
            found.append(steps.seen[0][1])
        return found

    plain, lazy = losses(), losses(r1=2.0, r1_every=3)
    assert [b - a for a, b in zip(plain, lazy, strict=True)] == pytest.approx([75, 0, 0, 75, 0])


def test_clipping_bounds_every_weight_batch_norm_included():
    model = RHGAN()
    Wasserstein(0.01).constrain(model.discriminator)
    assert max(float(p.abs().max()) for p in model.discriminator.parameters()) <= 0.01
    assert max(float(p.abs().max()) for p in model.generator.parameters()) > 0.01


@pytest.mark.parametrize("radius", [0.5, 1.0, 2.5])
def test_truncated_noise_has_the_truncated_normal_distribution(radius):
    z = truncate(IndexedNoise(0, 50_000).normal(1), radius).double().flatten()
    assert float(z.abs().max()) <= radius
    phi = math.exp(-(radius**2) / 2) / math.sqrt(2 * math.pi)
    mass = math.erf(radius / math.sqrt(2))
    assert float(z.var()) == pytest.approx(1 - 2 * radius * phi / mass, abs=0.02)
    assert float(z.mean()) == pytest.approx(0, abs=0.02)
    assert torch.allclose(truncate(z.float(), 40.0), z.float(), atol=1e-5), "a huge radius changes nothing"


def test_truncation_is_a_sampling_option():
    model = MLPGAN({"hidden": [8]}).eval()
    assert not torch.equal(model.sample(IndexedNoise(0, 3)), model.sample(IndexedNoise(0, 3), truncation=0.5))
    with pytest.raises(OptionError, match="truncation"):
        model.sample(IndexedNoise(0, 3), truncation=-1.0)


@pytest.mark.parametrize("batch_norm", [False, True])
def test_a_dcgan_has_the_channels_and_the_normalisation_that_its_config_says(batch_norm):
    model = DCGAN({**DCGAN.example, "channels": 3, "size": 16, "batch_norm": batch_norm}).eval()
    assert model.event_shape == (3, 16, 16) == tuple(model.sample(IndexedNoise(0, 1)).shape[1:])
    norms = [m for m in model.discriminator.modules() if isinstance(m, nn.BatchNorm2d)]
    assert bool(norms) is batch_norm
    x = torch.randn(4, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    alone = torch.cat([model.train().discriminator(one) for one in x.split(1)])
    assert torch.allclose(model.discriminator(x), alone, atol=1e-5) is not batch_norm, "a batch is seen, or is not"


def test_minibatch_deviation_sees_the_batch_in_training_only():
    layer = MinibatchDeviation()
    x = torch.randn(6, 3, 4, 4, generator=torch.Generator().manual_seed(1))
    assert float(layer(x)[0, -1, 0, 0]) == pytest.approx(float(x.std(0, unbiased=False).mean()), abs=1e-4)
    with torch.autocast("cpu", torch.bfloat16):
        assert layer(x.bfloat16()).dtype == torch.bfloat16
    layer.eval()
    assert torch.equal(layer(x)[:1], layer(x[:1]))


def test_generator_starts_from_another_model(monkeypatch):
    source, target = RHGAN(), RHGAN()
    wrapped = nn.Sequential(nn.Linear(2, 2), source.generator)
    monkeypatch.setattr(dgm_gans.training, "load", lambda name: wrapped)
    copy_generator(target.generator, "vae")
    for name, tensor in source.generator.state_dict().items():
        assert torch.equal(tensor, target.generator.state_dict()[name]), name
    with pytest.raises(DgmError, match="holds no generator"):
        copy_generator(MLPGAN().generator, "vae")


def test_a_phase_has_one_optimizer_for_each_player():
    phase = AdversarialPhase(MLPGAN(), AdversarialPhase.Options())
    groups = {k: {id(p) for p in v} for k, v in phase.parameters().items()}
    assert not groups["discriminator"] & groups["generator"]
    assert len(groups["discriminator"] | groups["generator"]) == len(list(phase.model.parameters()))


def test_averaged_weights_get_the_statistics_of_their_own_samples():
    model = DCGAN(DCGAN.example)
    for norm in (m for m in model.generator.modules() if isinstance(m, nn.BatchNorm2d)):
        norm.running_mean.fill_(5.0)
    renormalize(model)
    noise = StreamNoise(1, 2000).named(model.noise_shapes)
    trained = model.train().push(noise)
    assert float((model.eval().push(noise) - trained).abs().mean()) < 0.02


class Steps:
    """What a phase needs of a step, with Adam behind it and batches from a function of the step's number."""

    total, progress, device = None, 0.0, torch.device("cpu")

    def __init__(self, phase, batch, rate=0.02):
        groups = phase.parameters()
        self.optimizers = {name: torch.optim.Adam(p, rate) for name, p in groups.items()}
        self.next, self.index, self.seen = batch, 0, []

    def batch(self):
        self.index += 1
        return self.next(self.index)

    def noise(self, n=None):
        return StreamNoise(self.index, 500 if n is None else n)

    def minimize(self, loss, optimizer="model"):
        self.seen.append((optimizer, float(loss)))
        self.optimizers[optimizer].zero_grad()
        loss.backward()
        self.optimizers[optimizer].step()

    def log(self, **values):
        pass


def test_a_fitted_discriminator_is_the_logarithm_of_the_ratio_of_densities():
    model = MLPGAN({"hidden": []})  # one linear layer each
    with torch.no_grad():
        model.generator[0].weight.copy_(torch.eye(2))
        model.generator[0].bias.zero_()
    before = [p.clone() for p in model.generator.parameters()]
    phase = CriticPhase(model, CriticPhase.Options())
    steps = Steps(phase, lambda i: StreamNoise(1000 + i, 500).normal(2) + torch.tensor([1.0, 0.0]))
    for _ in range(600):
        phase.step(steps)
    x = torch.tensor([[0.0, 0.0], [2.0, 0.0], [0.0, 1.0]])
    # log N(x; (1, 0), I) / N(x; 0, I) = x_1 - 1/2
    assert torch.allclose(model.score(x), torch.tensor([-0.5, 1.5, -0.5]), atol=0.15)
    assert all(torch.equal(a, b) for a, b in zip(before, model.generator.parameters(), strict=True))


def test_the_game_of_a_kernel_takes_samples_to_the_data():
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = MLPGAN({"hidden": [16]})
    phase = AdversarialPhase(model, AdversarialPhase.Options(loss="mmd", penalty=1.0))
    target = torch.tensor([3.0, 0.0])
    steps = Steps(phase, lambda i: StreamNoise(1000 + i, 100).normal(2) + target, rate=0.01)

    def away():
        return float((model.sample(IndexedNoise(0, 500)).mean(0) - target).detach().norm())

    before = away()
    for _ in range(150):
        phase.step(steps)
    assert away() < 0.5 < 2.0 < before


def test_the_labels_of_least_squares_are_an_option():
    made = [
        AdversarialPhase(MLPGAN({"hidden": [4]}), AdversarialPhase.Options(loss="least-squares", labels=labels)).loss
        for labels in ("binary", "pearson")
    ]
    assert [(loss.fake, loss.target) for loss in made] == [(0.0, 1.0), (-1.0, 0.0)]


def test_clip_bounds_the_discriminator_of_any_loss():
    model = MLPGAN({"hidden": [8]})
    options = AdversarialPhase.Options(loss="hinge", clip=0.05)
    phase = AdversarialPhase(model, options)
    steps = Steps(phase, lambda i: torch.ones(4, 2), rate=0.001)
    for _ in range(3):
        phase.step(steps)
    assert max(float(p.detach().abs().max()) for p in model.discriminator.parameters()) <= 0.05 + 0.0011
    assert AdversarialPhase(model, AdversarialPhase.Options(loss="wasserstein")).loss.clip == 0.01


@pytest.mark.parametrize("phase", [AdversarialPhase, CriticPhase])
@pytest.mark.parametrize("options", [{"clip": -0.1}, {"clip": 0.0}, {"instance_noise": -1.0}])
def test_bounds_and_noise_that_are_none_are_refused(phase, options):
    with pytest.raises(DgmError, match=f"{next(iter(options))}: expected"):
        parse(phase.Options, options)


def test_instance_noise_goes_to_zero_and_is_on_data_and_samples_alike():
    model = MLPGAN({"hidden": [8]})
    phase = AdversarialPhase(model, AdversarialPhase.Options(instance_noise=2.0, noise_until=0.5))
    seen = []
    model.discriminator.register_forward_pre_hook(lambda module, x: seen.append(x[0].detach()))
    steps = Steps(phase, lambda i: torch.zeros(4000, 2), rate=0.0)
    with torch.no_grad():
        for p in model.generator.parameters():
            p.zero_()  # samples are zero as well
    for progress, expected in ((0.0, 2.0), (0.25, 1.0), (0.5, 0.0), (0.9, 0.0)):
        seen.clear()
        steps.progress = progress
        phase.step(steps)
        assert len(seen) == 3, "data, samples for the discriminator, samples for the generator"
        assert all(float(x.std()) == pytest.approx(expected, abs=0.05) for x in seen)


def test_a_generator_starts_from_the_shipped_vae():
    vae, gan = load("vae-mnist-2d"), RHGAN().eval()
    copy_generator(gan.generator, "vae-mnist-2d")
    z = IndexedNoise(0, 5).normal(2)
    with torch.no_grad():
        assert (gan.push({"z": z}) - vae.decode(z)).abs().max() < 1e-5


def test_eval_measures_tilted_models_and_records_none(capsys):
    settings = ["eval", "nsgan-25gaussians", "--metric", "within-3-sigma", "--n", "2000", "--json"]
    tilt = ["--tilt", "nsgan-25gaussians", "--set", "sampler=metropolis", "--set", "step_size=1", "--set", "steps=10"]
    assert main(settings) == 0
    plain = json.loads(capsys.readouterr().out)[0]
    assert main([*settings, *tilt]) == 0
    tilted = json.loads(capsys.readouterr().out)[0]
    assert tilted["value"] > plain["value"] + 0.08, "its own discriminator takes bridges away"
    assert "--tilt nsgan-25gaussians" in tilted["command"]
    assert main([*settings, "--tilt", "nsgan-25gaussians", "--record"]) == 2
    error, hint = capsys.readouterr().err.splitlines()
    assert "no entry to record in" in error and "leave out --record" in hint


def test_validation_is_the_energy_distance_without_the_bias_of_batches():
    from dgm_eval.distances import energy_distance

    model = MLPGAN({"dim": 2, "q": 2, "hidden": [8]}).eval()
    phase = AdversarialPhase(model, AdversarialPhase.Options())
    model.push = lambda eps: eps["z"]
    data = IndexedNoise(5, 4000).normal(2)
    for shift, low, high in ((0.0, -0.006, 0.006), (2.0, 0.6, 0.8)):
        x = data + shift
        values = [phase.validate(part, IndexedNoise(0, len(part), 50 * i)) for i, part in enumerate(x.split(50))]
        found = float(torch.cat(values).mean())
        published = energy_distance(x, IndexedNoise(0, 4000).named(model.noise_shapes)["z"])
        assert low < found < high
        assert found == pytest.approx(published, abs=0.006), "batches of fifty alone would add 0.018"


@pytest.mark.parametrize("spectral", [False, True])
def test_weights_of_a_discriminator_start_as_the_dcgan_s_unless_they_are_normalised(spectral):
    torch.manual_seed(0)
    made = ConvDiscriminator(1, 28, 16, spectral=spectral, deviation=False, normalize=True)
    kernel = made.layers[-2].weight if spectral else made.layers[-3].weight
    assert (abs(float(kernel.std()) - 0.02) < 0.002) != spectral and (float(made.fc.bias.abs().max()) == 0) != spectral
