r"""Features of images without labels: a network that learns what spoils an image, and which image it is.

Two tasks share one layer of features. The network names the corruption of an image and its strength,
so the features see blur, noise, mixtures and distortions; and it finds an image's other view among the
batch (the NT-Xent loss of SimCLR, behind a projection of its own), so they see pose, hair, light and background.

References:
    A Simple Framework for Contrastive Learning of Visual Representations (Chen et al., 2020)
"""

from __future__ import annotations

from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Size, Widths
from dgmcore.model import Model
from dgmcore.training.phase import Phase, Step

from .corruptions import KINDS, corrupt, jitter

__all__ = ["Corruptions", "ImageFeatures", "contrastive"]


class ImageFeatures(Model):
    """Features of colour images; the averages of all scales go into them, since blur shows in fine ones.

    Example:
        >>> model = ImageFeatures({"event_shape": [3, 16, 16], "channels": [8, 16], "width": 12})
        >>> model.features(torch.zeros(5, 3, 16, 16)).shape
        torch.Size([5, 12])
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (3, 64, 64)
        channels: Widths = (16, 32, 64, 96)  # each at half the resolution of the one before
        width: Size = 64  # the number of features

    example = {"event_shape": [3, 16, 16], "channels": [8, 16], "width": 12}
    data_range = (-1.0, 1.0)
    phases = {"corruptions": "dgm_eval.models.selfsupervised:Corruptions"}

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        c = self.config
        self.event_shape = tuple(c.event_shape)
        sizes = (self.event_shape[0], *c.channels)
        self.scales = nn.ModuleList(
            nn.Sequential(nn.Conv2d(a, b, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(b), nn.ReLU())
            for a, b in pairwise(sizes)
        )
        pooled = sum(c.channels) + 4 * c.channels[-1]
        self.dense = nn.Sequential(nn.Linear(pooled, c.width, bias=False), nn.BatchNorm1d(c.width), nn.ReLU())
        self.kind = nn.Linear(c.width, len(KINDS))
        self.strength = nn.Linear(c.width, len(KINDS))
        self.projection = nn.Sequential(nn.Linear(c.width, c.width), nn.ReLU(), nn.Linear(c.width, c.width))

    def features(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to `(n, width)`."""

        averages = []
        for scale in self.scales:
            x = scale(x)
            averages.append(x.mean((2, 3)))
        quarters = F.adaptive_avg_pool2d(x, 2).flatten(1)  # where in the image
        return self.dense(torch.cat([*averages, quarters], 1))


class Corruptions(Phase):
    """Names corruptions and their strength, and tells images from each other."""

    class Options(Config):
        temperature: float = 0.2
        contrast: float = 0.5  # weight of the second task

    def step(self, step: Step) -> None:
        model, options = self.model, self.options
        x = step.batch()
        noise = step.noise(len(x))
        plain = jitter(x, noise)
        spoilt, kind, strength = corrupt(jitter(x, noise), noise)
        both = model.features(torch.cat([plain, spoilt]))
        features = both[len(x) :]

        named = F.cross_entropy(model.kind(features), kind)
        guess = model.strength(features).gather(1, kind[:, None])[:, 0].sigmoid()
        spoils = (kind != 0).float()
        measured = ((guess - strength).square() * spoils).sum() / spoils.sum().clamp(min=1)
        alike = contrastive(*model.projection(both).chunk(2), options.temperature)
        step.minimize(named + 10 * measured + options.contrast * alike)
        step.log(kind=named.detach(), strength=measured.detach(), contrast=alike.detach())
        step.log(accuracy=(model.kind(features.detach()).argmax(1) == kind).float().mean())


def contrastive(a: Tensor, b: Tensor, temperature: float) -> Tensor:
    r"""The NT-Xent loss of two views, `(n, d)` each: view i of one set belongs to view i of the other.

    .. math:: -\frac1{2n} \sum_i \log \frac{\exp(z_i \cdot z_{i'} / \tau)}{\sum_{k \ne i} \exp(z_i \cdot z_k / \tau)}
    """

    z = F.normalize(torch.cat([a, b]), dim=1)
    n = len(a)
    likeness = z @ z.T / temperature
    likeness = likeness.masked_fill(torch.eye(2 * n, dtype=torch.bool, device=z.device), -torch.inf)
    partner = torch.arange(2 * n, device=z.device).roll(n)
    return F.cross_entropy(likeness, partner)
