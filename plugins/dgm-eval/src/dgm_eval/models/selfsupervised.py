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

from .corruptions import KINDS

__all__ = ["ImageFeatures"]


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
    phases = {"corruptions": "dgm_eval.models.training:Corruptions"}

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
