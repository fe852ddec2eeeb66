"""Networks that see a point and a time."""

from __future__ import annotations

import math
from typing import Any

import msgspec
import torch
from torch import Tensor, nn

from dgmcore import Config
from dgmcore.config import Depth, Size
from dgmcore.errors import DgmError, RegistryError

__all__ = [
    "MLP",
    "TimeMLP",
    "UNet",
    "build_network",
    "evaluate",
    "last_layer",
    "of_pictures",
    "sinusoid",
    "small_unet",
    "with_network",
]


class MLP(Config, tag="mlp", tag_field="kind"):
    """A residual multi-layer perceptron, for points."""

    width: Size = 128
    depth: Depth = 3
    frequencies: Size = 32


class UNet(Config, tag="unet", tag_field="kind"):
    """diffusers' `UNet2DModel`, for images; `args` are its own, as in the `config.json` of its repositories.

    Without `args` it is a small one that learns small pictures in minutes (:func:`small_unet`), and not diffusers' own
    of 274 million weights. With `patch` p it sees squares of p x p pixels as channels (Simple Diffusion, Hoogeboom et
    al., 2023, section 3.2).
    """

    args: dict[str, Any] = {}
    patch: Size = 1


def with_network(config: Any) -> Any:
    """Returns a model's config with its `network` in full: if it is None, one that fits `event_shape`."""

    spec, shape = config.network, tuple(config.event_shape)
    if spec is None:
        spec = UNet() if len(shape) == 3 else MLP()
    if isinstance(spec, UNet) and not spec.args and len(shape) == 3:
        spec = small_unet(shape, spec.patch)
    return msgspec.structs.replace(config, network=spec)


def small_unet(shape: tuple[int, ...], patch: int = 1) -> UNet:
    """Returns a U-Net of less than a million weights for images (channels, height, width).

    It sees patches of 2 x 2 pixels, unless `patch` is not 1 or they do not divide the image, halves what
    it sees down to 8 to 15 pixels, as far as that goes, and attends there.
    """

    sides = shape[1:]
    if patch == 1 and all(side % 2 == 0 and side > 8 for side in sides):
        patch = 2
    sides, widths = [side // patch for side in sides], [32]
    while all(side % 2 == 0 for side in sides) and min(sides) > 8 and len(widths) < 4:
        sides, widths = [side // 2 for side in sides], [*widths, 64]
    args = {
        "block_out_channels": widths,
        "layers_per_block": 1,
        "down_block_types": ["DownBlock2D"] * len(widths),
        "up_block_types": ["UpBlock2D"] * len(widths),
        "norm_num_groups": 8,
        "attention_head_dim": 16,
    }
    return UNet(args=args, patch=patch)


def of_pictures(shape: tuple[int, ...], phase: str, **more: Any) -> dict[str, Any]:
    """Returns what a first training on pictures of that shape wants (:func:`dgmcore.training.starter`); {} for points.

    Arguments:
        shape: The shape of a datum.
        phase: The phase's name.
        more: Other keys of a recipe; `config` is joined with the shape.
    """

    if len(shape) != 3:
        return {}
    return {
        **more,
        "config": {"event_shape": list(shape), **more.get("config", {})},
        "data": {"range": [-1, 1]},
        "phases": [
            {
                "phase": phase,
                "batch_size": 16,
                "optimizer": {"name": "adam", "lr": 2e-3},
                "clip_norm": 1.0,
                "channels_last": True,
            }
        ],
    }


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
        return self.last(nn.functional.silu(h)).reshape(x.shape[0], -1, *x.shape[2:])
