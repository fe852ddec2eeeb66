r"""Gated PixelCNN: the net of :mod:`dgm_autoregressive.gated` and what it says of pixels or symbols."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor

from dgmcore.config import Config, Depth, Real, Shape, Size
from dgmcore.errors import RegistryError
from dgmcore.model import Model
from dgmcore.noise import Noise

from .chain import Chain, uniform
from .gated import GatedNet, RowByRow
from .heads import Head, LogisticMixture, Softmax
from .levels import Levels

__all__ = ["PixelCNN"]


class PixelCNN(Chain):
    r"""A chain over the pixels of an image, row by row, or over a sequence: :math:`p(x) = \prod_t p(x_t \mid x_{<t})`.

    A pixel's distribution is a softmax over its levels, or a mixture of discretised logistics, given by convolutions
    that see the pixels above and to the left only [1], [2]. Symbols go in as one-hot vectors, grey values as numbers.
    Channels of a pixel come one after the other (with logistics only).

    Arguments:
        config: `event_shape`: `(C, H, W)`, or `(N,)` for a sequence; `levels` in `range`; `head`: `logistics` (with
            `components`) or `softmax`; `inputs`: `values` or `onehot`; the net's `channels`, `layers`, `reach` (how
            far a layer looks up and to the sides), `first` (how far the first one does), `hidden` (of the head) and
            `positions`: whether the net knows where it is.

    References:
        [1] Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016),
        https://arxiv.org/abs/1606.05328
        [2] PixelCNN++ (Salimans et al., 2017), https://arxiv.org/abs/1701.05517
    """

    class Config(Config):
        event_shape: Shape = (1, 28, 28)
        levels: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 256
        range: tuple[Real, Real] = (-1.0, 1.0)
        head: Literal["logistics", "softmax"] = "logistics"
        components: Depth = 10
        inputs: Literal["values", "onehot"] = "values"
        channels: Size = 32
        layers: Depth = 8
        reach: Depth = 1
        first: Depth = 3
        hidden: Size = 64
        positions: bool = True

    example: ClassVar[Mapping[str, Any]] = {
        "event_shape": [1, 5, 4],
        "levels": 5,
        "components": 2,
        "channels": 4,
        "layers": 2,
        "hidden": 6,
    }
    data_range = (-1.0, 1.0)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        levels = Levels.checked(c.levels, c.range, "PixelCNN")
        if len(c.event_shape) not in (1, 3):
            raise RegistryError(
                f"config of PixelCNN: event_shape: {list(c.event_shape)} is no image and no sequence",
                "give [channels, height, width], or [length]",
            )
        channels, height, width = self.image_shape = (1, 1, *c.event_shape)[-3:]
        self.head = self._make_head(levels, channels)
        self.network = GatedNet(
            inputs=levels.count if c.inputs == "onehot" else channels,
            outputs=self.head.outputs,
            size=(height, width),
            channels=c.channels,
            layers=c.layers,
            reach=c.reach,
            first=c.first,
            hidden=c.hidden,
            positions=c.positions,
        )
        # pixel by pixel, the channels of each one after the other
        places = torch.arange(channels * height * width).view(channels, -1)
        self._state(c.event_shape, levels, places.T.reshape(1, -1))

    def _make_head(self, levels: Levels, channels: int) -> Head:
        c = self.config
        if channels > 1 and c.head != "logistics":
            raise RegistryError("config of PixelCNN: a softmax is for one channel", "use head: logistics")
        if channels > 1 and c.inputs == "onehot":
            raise RegistryError("config of PixelCNN: one-hot inputs are for one channel", "use inputs: values")
        return LogisticMixture(levels, c.components, channels) if c.head == "logistics" else Softmax(levels)

    def log_conditionals(self, x: Tensor, chain: int = 0) -> Tensor:
        index = self.levels.index(x).view(-1, *self.image_shape)
        params = self.network(self._inputs(index, self.dtype))
        return self.head.log_prob(params, index).flatten(1)

    def _inputs(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Maps levels `(n, C, h, w)` to what the net sees, values in [-1, 1] or one-hot vectors."""

        if self.config.inputs == "onehot":
            return F.one_hot(index[:, 0], self.levels.count).movedim(-1, 1).to(dtype)
        return index.to(dtype) * (2 / (self.levels.count - 1)) - 1

    def draws(self, noise: Noise) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws pixel by pixel; what the net has computed above and to the left is kept, not computed again."""

        channels, height, width = self.image_shape
        u = uniform(noise, height * width, self.head.uniforms)
        net = RowByRow(copy.deepcopy(self.network).double(), noise.n)
        places = self.orders.view(height * width, channels)
        seen: Tensor | None = None
        for t in range(height * width):
            level = self.head.draw(net.step(seen), u[:, t])
            seen = self._inputs(level.view(-1, channels, 1, 1), u.dtype).flatten(1)
            yield places[t], level
