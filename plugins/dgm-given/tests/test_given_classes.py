"""Classes: what a classifier tells of a datum, and populations of draws that are of a class."""

from __future__ import annotations

import math

import pytest
import torch
from dgm_given import Label, given

import dgmcore
from dgmcore import Config, Model
from dgmcore.errors import UsageError


class Scaled(Model):
    """x = 2 z + 1 with standard normal z of 20 dimensions."""

    noise_shapes: dict

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape, self.noise_shapes = (20,), {"z": (20,)}

    def push(self, eps):
        return 2 * eps["z"] + 1.0

    def sample(self, noise):
        return self.push(noise.named(self.noise_shapes))


class OfOnePixel(Model):
    """Two classes, by the first value of a datum."""

    class Config(Config):
        turns: float = 0.0

    def __init__(self, shape, **config):
        super().__init__(config)
        self.event_shape = shape

    def logits(self, x):
        level = x.flatten(1)[:, 0]
        return torch.stack([level, torch.zeros_like(level)], 1)


def test_labels_sharpen_by_their_weight():
    x = torch.tensor([[2.0], [-1.0]])
    told = torch.nn.functional.logsigmoid(x[:, 0])
    assert torch.allclose(Label(0, OfOnePixel((1,))).score(x), 30 * told)
    assert torch.allclose(Label(0, OfOnePixel((1,)), weight=2.5).score(x), 2.5 * told)
    assert torch.allclose(Label(1, OfOnePixel((1,))).score(x), 30 * torch.nn.functional.logsigmoid(-x[:, 0]))
    flat = x.view(2, 1, 1, 1).expand(2, 1, 6, 6)
    assert torch.allclose(Label(0, OfOnePixel((1, 6, 6), turns=15)).score(flat), 30 * told, atol=1e-4)
    with pytest.raises(UsageError, match="no class 2"):
        Label(2, OfOnePixel((1,)))


@pytest.mark.parametrize(("turns", "least"), [(0.0, 3.0), (90.0, -2.0)])
def test_a_label_is_what_the_least_sure_view_shows(turns, least):
    """The first pixel of an image, of that beside it, and of those that turns by 90 degrees bring there."""
    x = torch.full((1, 1, 5, 5), 9.0)
    x[..., 0, 0], x[..., 0, 1] = 4.0, 3.0
    x[..., 0, 4], x[..., 4, 0], x[..., 4, 4] = -1.0, -2.0, -7.0  # the last is opposite
    score = Label(0, OfOnePixel((1, 5, 5), turns=turns), weight=1.0).score(x)
    assert float(score) == pytest.approx(float(torch.nn.functional.logsigmoid(torch.tensor(least))), abs=1e-4)


def test_a_class_in_many_dimensions_is_drawn_from_its_posterior_by_a_population():
    """Of x = 2 eps + 1 with the likelihood sigmoid(x_0): the moments by a sum over a grid; other noises stay normal."""
    asked = given(Scaled().eval(), Label(0, OfOnePixel((20,)), weight=1.0))
    x = dgmcore.sample(asked, 600, seed=3, particles=2048)
    eps = torch.linspace(-6, 6, 4001, dtype=torch.float64)
    p = (-eps.square() / 2 + torch.nn.functional.logsigmoid(2 * eps + 1)).softmax(0)
    mean = float((p * eps).sum())
    std = math.sqrt(float((p * eps.square()).sum()) - mean**2)
    found = (x - 1) / 2
    assert float(found[:, 0].mean()) == pytest.approx(mean, abs=4 * std / math.sqrt(600))
    assert float(found[:, 0].std()) == pytest.approx(std, rel=0.12)
    assert float(found[:, 1:].mean().abs()) < 0.04 and float(found[:, 1:].std()) == pytest.approx(1, rel=0.03)
    assert asked.report()["sampler"] == "population" and asked.report()["acceptance"] > 0.8
