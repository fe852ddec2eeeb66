r"""A small convolutional classifier, whose penultimate layer is the feature space of our metrics.

The networks that FID, KID and precision and recall usually lean on were trained on photographs of
299 x 299 pixels; digits and clothes of 28 x 28 are judged by a network that was trained on them.
The network has LeNet's plan, 5 x 5 convolutions and pooling in turn and then two dense layers, with what
has become usual since: batch normalisation and dropout.

References:
    Gradient-based learning applied to document recognition (LeCun et al., 1998)
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), 1.2.4: features of a LeNet
"""

from __future__ import annotations

import math
from typing import Annotated

from msgspec import Meta
from torch import Tensor, nn

from dgmcore.config import Config, Fraction, Size, Widths
from dgmcore.model import Model

__all__ = ["Classifier"]


class Classifier(Model):
    r"""Maps images to :math:`\log p(y \mid x)` and to the features before the last layer.

    Example:
        >>> model = Classifier({"event_shape": [1, 28, 28], "channels": [8, 16], "width": 20})
        >>> x = torch.zeros(5, 1, 28, 28)
        >>> model.features(x).shape, model.probabilities(x).shape
        (torch.Size([5, 20]), torch.Size([5, 10]))
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (1, 28, 28)
        classes: Size = 10
        channels: Widths = (16, 32)  # one convolution and one halving each
        kernel: Size = 5
        width: Size = 84  # of the penultimate layer: the number of features
        dropout: Fraction = 0.25
        turns: Annotated[float, Meta(ge=0, le=180)] = 0.0  # degrees by which an image may be turned and keep its class

    example = {"event_shape": [1, 28, 28], "channels": [4, 8], "width": 12}
    data_range = (-1.0, 1.0)
    phases = {"classify": "dgm_eval.models.training:Classify"}

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        c = self.config
        self.event_shape = tuple(c.event_shape)
        channels, *size = self.event_shape

        layers: list[nn.Module] = []
        for out in c.channels:
            # pooling first: what follows then works on a quarter of the pixels
            layers += [nn.Conv2d(channels, out, c.kernel, bias=False), nn.MaxPool2d(2, ceil_mode=True)]
            layers += [nn.BatchNorm2d(out), nn.ReLU()]
            channels, size = out, [(s - c.kernel + 2) // 2 for s in size]
        self.convolutions = nn.Sequential(*layers)
        self.dense = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(c.dropout),
            nn.Linear(channels * math.prod(size), c.width, bias=False),
            nn.BatchNorm1d(c.width),
            nn.ReLU(),
        )
        self.head = nn.Sequential(nn.Dropout(c.dropout), nn.Linear(c.width, c.classes))

    def features(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to the penultimate layer, `(n, width)`."""

        return self.dense(self.convolutions(x))

    def logits(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to `(n, classes)`."""

        return self.head(self.features(x))

    def probabilities(self, x: Tensor) -> Tensor:
        r"""Maps `(n, *event_shape)` to :math:`p(y \mid x)`, `(n, classes)`."""

        return self.logits(x).softmax(1)
