"""Networks that are right: for Gaussian data every velocity, score and drift is known."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

MEAN, STD = torch.tensor([0.4, -0.3]), 0.5


def normal_log_prob(x: Tensor, mean: Tensor | float = MEAN, std: float = STD) -> Tensor:
    """The log-density of N(mean, std^2 I) in the plane, `(n,)`."""
    return -0.5 * ((x - mean) / std).square().sum(1) - math.log(2 * math.pi) - 2 * math.log(std)


def assert_gaussian(x: Tensor, tolerance: float = 0.03, mean: Tensor | float = MEAN, std: float = STD) -> None:
    assert torch.allclose(x.mean(0), torch.as_tensor(mean).expand(2), atol=tolerance), x.mean(0)
    assert torch.allclose(x.std(0), torch.full((2,), std), atol=tolerance), x.std(0)


class Velocity(nn.Module):
    """E[x_1 - x_0 | x_t] of flow matching; with labels, data of class y are moved by `shift` times y."""

    def __init__(self, shift: float = 0.0):
        super().__init__()
        self.shift = shift

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        t = (t / 1000).view(-1, 1)
        mean = MEAN if labels is None else MEAN + self.shift * labels[:, None]
        variance = (1 - t).square() + t.square() * STD**2
        return mean + (t * STD**2 - (1 - t)) / variance * (x - t * mean)


class Denoiser(nn.Module):
    r"""The raw output that makes a VE SDE's denoiser :math:`E[x_0 | x_\sigma]`."""

    def __init__(self, model):
        super().__init__()
        c = model.config
        self.low, self.high, self.data = math.log(c.sigma_min), math.log(c.sigma_max), c.sigma_data

    def forward(self, scaled: Tensor, t: Tensor) -> Tensor:
        sigma = (self.low + t / 1000 * (self.high - self.low)).exp().view(-1, 1)
        total = (sigma.square() + self.data**2).sqrt()
        x = scaled * total
        best = MEAN + STD**2 / (STD**2 + sigma.square()) * (x - MEAN)
        return (best - (self.data / total).square() * x) * total / (sigma * self.data)


class BridgeDrift(nn.Module):
    """The drift of the Schroedinger bridge from N(0, a^2 I) to N(0, b^2 I), as a bridge's network says it.

    The coupling has the covariance c with c^2 + sigma^2 c = a^2 b^2; given its ends the path is a Brownian bridge.
    """

    def __init__(self, model, direction: str, a: float):
        super().__init__()
        self.sigma, b = model.config.sigma, model.config.prior_std
        self.a, self.b, self.c = a, b, covariance(a, b, self.sigma)
        self.direction, self.steps = direction, model.config.steps
        self.times = torch.cat([torch.zeros(1), model.gammas.cumsum(0)])

    def forward(self, x: Tensor, k: Tensor) -> Tensor:
        t = self.times[(k * self.steps / 1000).round().long()].view(-1, 1)
        x = x * (1 + self.sigma**2 * t).sqrt()
        cross = t * (1 - t)
        variance = ((1 - t) * self.a).square() + (t * self.b).square() + cross * (2 * self.c + self.sigma**2)
        if self.direction == "to-prior":
            end, left = ((1 - t) * self.c + t * self.b**2) / variance * x, 1 - t
        else:
            end, left = ((1 - t) * self.a**2 + t * self.c) / variance * x, t
        return (end - x) / left.sqrt() / self.sigma


def covariance(a: float, b: float, sigma: float) -> float:
    return 0.5 * (math.sqrt(sigma**4 + 4 * (a * b) ** 2) - sigma**2)


class Says(nn.Module):
    """A network that says a number for each class, and keeps what it saw."""

    def __init__(self, *numbers):
        super().__init__()
        self.numbers, self.seen = torch.tensor(numbers), []

    def forward(self, x, t, labels=None):
        self.seen.append((x, t, labels))
        k = torch.zeros(len(x), dtype=torch.long) if labels is None else labels
        return self.numbers[k].view(-1, *[1] * (x.ndim - 1)).expand_as(x)
