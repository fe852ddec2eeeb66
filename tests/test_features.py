"""The feature networks: what they are trained by."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_eval.models import corruptions
from dgm_eval.models.classifier import Classifier
from dgm_eval.models.corruptions import KINDS, corrupt, jitter, shifted
from dgm_eval.models.selfsupervised import ImageFeatures
from dgm_eval.models.training import Classify, Corruptions, contrastive

from dgmcore.noise import IndexedNoise
from dgmcore.sampling.stream_noise import StreamNoise


class Steps:
    """Training steps on data in memory, without the engine."""

    def __init__(self, x, y, parameters, size=64):
        self.x, self.y, self.size = x, y, size
        self.adam = torch.optim.Adam(parameters, 3e-3)
        self.index, self.logged = -1, {}

    def batch(self):
        self.index += 1
        self.at = StreamNoise(0, self.size, scope=str(self.index)).integers(len(self.x))
        return self.x[self.at]

    def labels(self):
        return self.y[self.at]

    def noise(self, n=None):
        return StreamNoise(1, n or self.size, scope=str(self.index))

    def minimize(self, loss):
        self.adam.zero_grad()
        loss.backward()
        self.adam.step()

    def log(self, **values):
        self.logged |= values


@pytest.fixture(autouse=True)
def seeded():
    with torch.random.fork_rng():
        torch.manual_seed(0)
        yield


def stripes(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Images of horizontal or vertical stripes in noise."""
    noise = IndexedNoise(seed, n)
    y = noise.integers(2)
    wave = torch.sign(torch.sin(torch.arange(12) * 1.6))
    x = torch.where(y.view(-1, 1, 1, 1) == 0, wave[:, None], wave[None, :])
    return (0.5 * x + 0.5 * noise.normal(1, 12, 12)).clamp(-1, 1), y


def test_a_classifier_learns():
    x, y = stripes(600, 0)
    model = Classifier({"event_shape": [1, 12, 12], "classes": 2, "channels": [4, 8], "kernel": 3, "width": 8})
    step = Steps(x, y, model.parameters())
    phase = Classify(model, Classify.Options(shift=1, label_smoothing=0.05))
    for _ in range(40):
        phase.step(step)
    model.eval()
    x, y = stripes(400, 1)
    probabilities = model.probabilities(x)
    assert torch.allclose(probabilities.sum(1), torch.ones(400))
    assert (probabilities.argmax(1) == y).float().mean() > 0.97
    assert torch.equal(model.features(x), model.features(x))  # no dropout in eval mode


def test_shifted_moves_each_image_by_its_own_offset():
    x = torch.arange(50.0).view(2, 1, 5, 5)
    y = shifted(x, torch.tensor([[1, 1], [0, 2]]), 1)
    assert torch.equal(y[0], x[0])
    assert torch.equal(y[1, :, 1:, :-1], x[1, :, :-1, 1:])


def photographs(n: int, size: int = 32) -> torch.Tensor:
    """Smooth random images in [-1, 1]."""
    coarse = IndexedNoise(5, n).uniform(3, 6, 6)
    x = torch.nn.functional.interpolate(coarse, size=(size, size), mode="bicubic", align_corners=True)
    return (2 * x - 1).clamp(-1, 1)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_corruption_grows_with_its_strength(kind):
    x = photographs(64)
    draw = corruptions._Draws(IndexedNoise(0, 64), torch.arange(64), kind)
    function = corruptions._noise if kind == "noise" else getattr(corruptions, kind)
    changes = []
    for strength in (0.01, 0.3, 0.6, 1.0):
        y = function(x, torch.full((64,), strength), others=x.roll(1, 0), draw=draw)
        assert y.shape == x.shape and y.isfinite().all() and y.abs().max() <= 1 + 1e-5
        changes.append(float((y - x).square().mean()))
    assert changes == sorted(changes)
    assert changes[0] < 0.05 * changes[-1]


def test_blur_is_a_gaussian_convolution():
    x = torch.zeros(1, 1, 31, 31)
    x[..., 15, 15] = 1
    y = corruptions.blur(x, torch.tensor([0.5]))[0, 0]  # 1.5 pixels
    at = torch.arange(31) - 15.0
    assert y.sum() == pytest.approx(1, abs=1e-5)
    assert (y.sum(0) * at**2).sum() == pytest.approx(1.5**2, rel=0.01)
    assert torch.allclose(y, y.T)


def test_corrupt_says_what_it_did_and_repeats_itself():
    x = photographs(200)
    y, kind, strength = corrupt(x, IndexedNoise(3, 200))
    again = corrupt(x, IndexedNoise(3, 200))
    assert all(torch.equal(a, b) for a, b in zip((y, kind, strength), again, strict=True))
    changed = (y - x).flatten(1).abs().amax(1) > 0
    assert torch.equal(changed, kind != 0)
    assert set(kind.tolist()) == set(range(len(KINDS)))
    assert strength.min() >= 0.1 and strength.max() <= 1
    z = jitter(x, IndexedNoise(3, 200))
    assert z.shape == x.shape and not torch.equal(z, x)


def test_the_contrastive_loss_of_known_views():
    a = torch.eye(4)
    # the partner has cosine 1, the six others 0
    expected = math.log(1 + 6 * math.exp(-1 / 0.5))
    assert contrastive(a, a, 0.5) == pytest.approx(expected)
    assert contrastive(a, a, 0.5) < contrastive(a, a.roll(1, 0), 0.5)


def test_features_learn_what_spoils_images():
    x = photographs(128, 16)
    model = ImageFeatures({"event_shape": [3, 16, 16], "channels": [8, 16], "width": 16})
    step = Steps(x, None, model.parameters())
    phase = Corruptions(model, Corruptions.Options())
    first = None
    for _ in range(60):
        phase.step(step)
        first = first if first is not None else float(step.logged["kind"])
    assert float(step.logged["kind"]) < 0.8 * first
    assert model.eval().features(x).shape == (128, 16)


def test_the_second_task_has_its_weight():
    x, losses = photographs(16, 16), {}
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        model = ImageFeatures({"event_shape": [3, 16, 16], "channels": [8, 16], "width": 16})
        step = Steps(x, None, model.parameters())
        step.minimize = lambda loss, weight=weight: losses.update({weight: float(loss.detach())})
        Corruptions(model, Corruptions.Options(contrast=weight)).step(step)
    assert losses[2.0] == pytest.approx(losses[0.0] + 2 * float(step.logged["contrast"]), rel=1e-4)
