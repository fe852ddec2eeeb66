"""Generators and discriminators."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

__all__ = ["ConvDiscriminator", "ConvGenerator", "MinibatchDeviation", "RHDiscriminator", "RHGenerator", "mlp"]


class RHGenerator(nn.Module):
    """MNIST generator of Ruthotto & Haber (2021), section 2.2, eq. 5: 42,913 weights at q = 2. Images in [0, 1].

    The first layer's bias has 3136 entries: the text's channel-wise bias would give 39,841 weights.
    """

    def __init__(self, q: int = 2):
        super().__init__()
        self.fc = nn.Linear(q, 64 * 7 * 7)
        self.bn2 = nn.BatchNorm2d(64)
        self.conv2 = nn.ConvTranspose2d(64, 32, 4, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv1 = nn.ConvTranspose2d(32, 1, 4, stride=2, padding=1)

    def forward(self, z: Tensor) -> Tensor:
        """Maps `(n, q)` to `(n, 1, 28, 28)`."""
        h = self.fc(z).reshape(-1, 64, 7, 7)
        h = self.conv2(self.bn2(h).relu())
        return self.conv1(self.bn1(h).relu()).sigmoid()


class RHDiscriminator(nn.Module):
    """MNIST discriminator of Ruthotto & Haber (2021), section 5.1, eq. 33: 36,705 weights. Returns logits.

    Images in [0, 1] are first mapped to [-1, 1]; the leaky slope is 0.2 (as in the code; the text's formula drops x).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(1, 32, 4, stride=2, padding=1)
        self.bn1 = nn.BatchNorm2d(32)
        self.conv2 = nn.Conv2d(32, 64, 4, stride=2, padding=1)
        self.bn2 = nn.BatchNorm2d(64)
        self.fc = nn.Linear(64 * 7 * 7, 1)
        self.act = nn.LeakyReLU(0.2)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, 1, 28, 28)` to `(n,)`."""
        h = self.act(self.bn1(self.conv1(2 * x - 1)))
        h = self.act(self.bn2(self.conv2(h)))
        return self.fc(h.flatten(1)).squeeze(1)


class ConvGenerator(nn.Module):
    """Deep convolutional generator (Radford et al., 2016) for images in [-1, 1].

    Arguments:
        q: The size of the noise.
        channels: Channels of the image.
        size: Height and width: 4 to 7 (where it starts) times a power of two.
        width: Channels before the last layer; doubled at each lower resolution.
    """

    def __init__(self, q: int, channels: int, size: int, width: int):
        super().__init__()
        self.base, doublings = start_of(size)
        widths = [width * 2**i for i in reversed(range(doublings))]
        self.fc = nn.Linear(q, widths[0] * self.base**2, bias=False)
        layers: list[nn.Module] = [nn.BatchNorm2d(widths[0]), nn.ReLU()]
        for a, b in itertools.pairwise(widths):
            layers += [nn.ConvTranspose2d(a, b, 4, 2, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU()]
        layers += [nn.ConvTranspose2d(widths[-1], channels, 4, 2, 1), nn.Tanh()]
        self.layers = nn.Sequential(*layers)
        self.apply(_dcgan_init)

    def forward(self, z: Tensor) -> Tensor:
        """Maps `(n, q)` to `(n, channels, size, size)`."""
        return self.layers(self.fc(z).reshape(z.shape[0], -1, self.base, self.base))


class ConvDiscriminator(nn.Module):
    """The mirror of :class:`ConvGenerator`; returns logits.

    Arguments:
        spectral: Spectral normalisation (Miyato et al., 2018) of all layers, in place of batch norm.
        deviation: Appends the minibatch standard deviation (Karras et al., 2018) as a feature map.
        normalize: Batch norm (without `spectral`); gradient penalties want it off.
    """

    def __init__(self, channels: int, size: int, width: int, spectral: bool, deviation: bool, normalize: bool):
        super().__init__()
        base, doublings = start_of(size)
        widths = [channels, *(width * 2**i for i in range(doublings))]
        wrap = spectral_norm if spectral else (lambda m: m)
        layers: list[nn.Module] = []
        for i, (a, b) in enumerate(itertools.pairwise(widths)):
            layers.append(wrap(nn.Conv2d(a, b, 4, 2, 1)))
            if normalize and not spectral and i > 0:
                layers.append(nn.BatchNorm2d(b))
            layers.append(nn.LeakyReLU(0.2))
        if deviation:
            layers.append(MinibatchDeviation())
        self.layers = nn.Sequential(*layers)
        self.fc = wrap(nn.Linear((widths[-1] + deviation) * base**2, 1))
        if not spectral:
            self.apply(_dcgan_init)

    def forward(self, x: Tensor) -> Tensor:
        """Maps `(n, channels, size, size)` to `(n,)`."""
        return self.fc(self.layers(x).flatten(1)).squeeze(1)


class MinibatchDeviation(nn.Module):
    """Appends one map with the mean standard deviation over the batch (Karras et al., 2018, section 3).

    In eval mode the deviation is that of a running average, so a score does not depend on the batch.
    """

    running: Tensor

    def __init__(self, momentum: float = 0.01):
        super().__init__()
        self.momentum = momentum
        self.register_buffer("running", torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        if self.training:
            # of the parameters' dtype: under autocast x is in half precision
            deviation = (x.to(self.running.dtype).var(0, unbiased=False) + 1e-8).sqrt().mean()
            with torch.no_grad():
                self.running.lerp_(deviation.detach(), self.momentum)
        else:
            deviation = self.running
        return torch.cat([x, deviation.to(x.dtype).expand(x.shape[0], 1, *x.shape[2:])], 1)


def mlp(sizes: Sequence[int], activation: type[nn.Module] = nn.ReLU, spectral: bool = False) -> nn.Sequential:
    """Returns a multi-layer perceptron with layers of these sizes, linear at its end."""

    wrap = spectral_norm if spectral else (lambda m: m)
    layers: list[nn.Module] = []
    for i, (a, b) in enumerate(itertools.pairwise(sizes)):
        layers += ([activation()] if i else []) + [wrap(nn.Linear(a, b))]
    return nn.Sequential(*layers)


def start_of(size: int) -> tuple[int, int]:
    """Returns the lowest resolution of an image size, 4 to 7, and the number of doublings from there."""

    doublings = 0
    while size % 2 == 0 and size > 7:
        size, doublings = size // 2, doublings + 1
    return size, doublings


def _dcgan_init(module: nn.Module) -> None:
    """Weights N(0, 0.02), batch norm around 1 (Radford et al., 2016, section 4)."""

    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
        nn.init.zeros_(module.bias)
