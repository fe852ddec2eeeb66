"""Networks that see a point and a time."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from dgmcore import Config
from dgmcore.config import Depth, Size
from dgmcore.errors import DgmError, RegistryError

__all__ = ["MLP", "TimeMLP", "UNet", "build_network", "evaluate", "last_layer", "sinusoid"]


class MLP(Config, tag="mlp", tag_field="kind"):
    """A residual multi-layer perceptron, for points."""

    width: Size = 128
    depth: Depth = 3
    frequencies: Size = 32


class UNet(Config, tag="unet", tag_field="kind"):
    """diffusers' `UNet2DModel`, for images; `args` are its own, as in the `config.json` of its repositories.

    With `patch` p it sees squares of p x p pixels as channels (Simple Diffusion, Hoogeboom et al., 2023, section 3.2).
    """

    args: dict[str, Any] = {}
    patch: Size = 1


def build_network(spec: MLP | UNet, event_shape: tuple[int, ...], classes: int = 0, outputs: int = 1) -> nn.Module:
    """Builds a network that maps `(n, *event_shape)` and times `(n,)` in 0..1000 to `(n, *event_shape)`.

    With `classes` it takes labels `(n,)` too, of which the last, `classes`, stands for no label. It has so many
    `outputs` of that shape, one after the other along the axis of the channels.
    """

    if isinstance(spec, MLP):
        return TimeMLP(math.prod(event_shape), spec, classes, outputs)
    args = {**spec.args, "num_class_embeds": classes + 1} if classes else spec.args
    if outputs > 1:
        args = {**args, "out_channels": outputs * spec.patch**2 * event_shape[0]}
    if spec.patch == 1:
        return build_unet(args, event_shape)
    c, h, w = event_shape if len(event_shape) == 3 else (0, 1, 1)
    if h % spec.patch or w % spec.patch:
        raise RegistryError(f"patches of {spec.patch} pixels don't divide data of shape {event_shape}", "set patch: 1")
    return Patched(build_unet(args, (c * spec.patch**2, h // spec.patch, w // spec.patch)), spec.patch)


def evaluate(network: nn.Module, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
    """Returns the output of a network that :func:`build_network` made, `(n, *event_shape)`.

    Arguments:
        network: The network.
        x: Points, `(n, *event_shape)`.
        t: Times in 0..1000, `(n,)`, or one for all, `()`.
        labels: Their labels, `(n,)`, if the network knows classes.
    """

    out = network(x, t) if labels is None else network(x, t, labels)
    return out if isinstance(out, Tensor) else out.sample


def last_layer(network: nn.Module) -> nn.Module:
    """Returns the layer that makes the output of a network that :func:`build_network` made."""

    if isinstance(network, Patched):
        return last_layer(network.unet)
    return network.last if isinstance(network, TimeMLP) else network.conv_out


def build_unet(args: dict[str, Any], event_shape: tuple[int, ...]) -> nn.Module:
    """Builds diffusers' U-Net; importing diffusers takes seconds, so it happens here only."""

    try:
        from diffusers import UNet2DModel
    except ImportError as e:
        raise DgmError(f"the U-Net needs diffusers: {e}", "pip install dgm-diffusion") from e
    if len(event_shape) != 3:
        raise RegistryError(f"a U-Net can't see data of shape {event_shape}", "use network {kind: mlp} for points")
    full = {"sample_size": event_shape[1], "in_channels": event_shape[0], "out_channels": event_shape[0], **args}
    try:
        return UNet2DModel(**full)
    except (TypeError, ValueError) as e:
        raise RegistryError(f"network.args: {e}", "the keys are the arguments of diffusers.UNet2DModel") from e


def sinusoid(t: Tensor, size: int, longest: float = 10_000.0) -> Tensor:
    """Sinusoidal embedding of times `(n,)`, `(n, size)`."""

    half = size // 2
    rates = torch.exp(-math.log(longest) * torch.arange(half, dtype=t.dtype, device=t.device) / half)
    angle = t[:, None] * rates
    return torch.cat([angle.sin(), angle.cos()], 1)


class Patched(nn.Module):
    """A U-Net on squares of pixels."""

    def __init__(self, unet: nn.Module, patch: int):
        super().__init__()
        self.unet, self.patch = unet, patch

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        out = self.unet(nn.functional.pixel_unshuffle(x, self.patch), t, labels).sample
        return nn.functional.pixel_shuffle(out, self.patch)


class TimeMLP(nn.Module):
    """Residual blocks that add an embedding of the time to every hidden layer."""

    def __init__(self, dim: int, spec: MLP, classes: int = 0, outputs: int = 1):
        super().__init__()
        width = spec.width
        self.frequencies = spec.frequencies
        self.embed = nn.Sequential(nn.Linear(2 * spec.frequencies, width), nn.SiLU(), nn.Linear(width, width))
        self.first = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(
            nn.ModuleDict({"a": nn.Linear(width, width), "b": nn.Linear(width, width)}) for _ in range(spec.depth)
        )
        self.last = nn.Linear(width, outputs * dim)
        self.labels = nn.Embedding(classes + 1, width) if classes else None

    def forward(self, x: Tensor, t: Tensor, labels: Tensor | None = None) -> Tensor:
        """Maps `(n, *event)` and times `(n,)`, or one time for all, `()`, to `(n, *event)`."""

        e = self.embed(sinusoid(t.reshape(-1), 2 * self.frequencies))
        if self.labels is not None and labels is not None:
            e = e + self.labels(labels)
        h = self.first(x.flatten(1))
        for block in self.blocks:
            h = h + block["b"](nn.functional.silu(block["a"](nn.functional.silu(h + e))))
        return self.last(nn.functional.silu(h)).reshape(len(x), -1, *x.shape[2:])
