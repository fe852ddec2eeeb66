r"""Masked auto-encoders: one net whose masks make it a chain, in several orders [1]."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config
from dgmcore.model import Model
from dgmcore.noise import Noise

from .chain import Chain
from .levels import Levels

__all__ = ["MADE", "MaskedNet", "orders_of"]

Positive = Annotated[int, msgspec.Meta(ge=1)]


class MADE(Chain):
    r"""An equal mixture of chains over the pixels of a binary image, one for each order [1]:

    .. math:: p(x) = \frac1M \sum_{m=1}^M \prod_{t=1}^D p_m(x_{o_m(t)} \mid x_{o_m(1)}, \dots, x_{o_m(t-1)}).

    All chains share the weights of one net. With :math:`r_m(i)` the rank of pixel i in the order m and :math:`d_u` the
    degree of a hidden unit, from 1 to D - 1, the masks let a unit see the pixels with :math:`r_m(i) \le d_u` and the
    units before it with degrees :math:`\le d_u`, and the pixel i the units with :math:`d_u < r_m(i)`. The first order
    is the raster's, the others are drawn with the `seed`; the degrees are spread evenly.

    Arguments:
        config: `event_shape`, the `hidden` layers' widths, the number of `orders`, their `seed`, and whether pixels
            see those before them `direct`ly, too. The two levels are the ends of `range`.

    References:
        [1] MADE: Masked Autoencoder for Distribution Estimation (Germain et al., 2015), https://arxiv.org/abs/1502.03509
    """

    class Config(Config):
        event_shape: tuple[Positive, ...] = (1, 28, 28)
        hidden: tuple[Positive, ...] = (1000,)
        orders: Positive = 1
        seed: int = 0
        direct: bool = True
        range: tuple[float, float] = (0.0, 1.0)

    example: ClassVar[Mapping[str, Any]] = {"event_shape": [1, 4, 4], "hidden": [12, 10], "orders": 2}
    data_range = (0.0, 1.0)
    phases: ClassVar[Mapping[str, str]] = {"likelihood": "dgm_autoregressive.training:OrderAgnostic"}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        size = math.prod(c.event_shape)
        self._state(c.event_shape, Levels.checked(2, c.range, "MADE"), orders_of(size, c.orders, c.seed))
        self.network = MaskedNet(size, c.hidden, c.direct)

    def log_conditionals(self, x: Tensor, chain: int = 0) -> Tensor:
        bits = self.levels.index(x).flatten(1).to(self.dtype)
        order = self.orders[chain]
        logits = self.network(2 * bits[:, order] - 1, order)
        logits = logits.float() if logits.dtype in (torch.bfloat16, torch.float16) else logits
        # log sigmoid of the logit or of minus the logit
        ordered = -F.softplus((1 - 2 * bits[:, order]) * logits)
        return torch.empty_like(ordered).scatter(1, order.expand_as(ordered), ordered)

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of images, of the mixture of all orders, in nats, shape `(n,)`."""

        chains = [self.log_conditionals(x, m).sum(1) for m in range(len(self.orders))]
        return torch.stack(chains).logsumexp(0) - math.log(len(chains))

    def draws(self, noise: Noise) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws pixel by pixel; every image has an order of its own. Each hidden unit is computed once."""

        count, size = self.orders.shape
        chosen = noise.integers(count, name="order")
        u = noise.uniform(size, name="u").double()
        groups = [(rows, m) for m in range(count) if len(rows := (chosen == m).nonzero()[:, 0])]
        growing = [self.network.growing(self.orders[m], len(rows)) for rows, m in groups]
        places = self.orders[chosen]
        for t in range(size):
            level = torch.empty(noise.n, 1, dtype=torch.int64, device=u.device)
            for (rows, _), net in zip(groups, growing, strict=True):
                drawn = u[rows, t] < torch.sigmoid(net.logit())
                net.take(2 * drawn.double() - 1)
                level[rows, 0] = drawn.long()
            yield places[:, t : t + 1], level


class MaskedNet(nn.Module):
    """A net from pixels in an order to the logits of each pixel, given those before it.

    Pixels come in -1 and 1, in the order asked for; the units of a hidden layer lie by their degrees.
    """

    def __init__(self, size: int, hidden: tuple[int, ...], direct: bool):
        super().__init__()
        self.size, widths = size, (size, *hidden, size)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.direct = nn.Linear(size, size, bias=False) if direct else None
        if self.direct is not None:
            nn.init.zeros_(self.direct.weight)
        for i, width in enumerate(hidden):
            self.register_buffer(f"degrees{i}", degrees_of(width, size), persistent=False)

    def seen_by(self, layer: int) -> Tensor:
        """Returns up to which degree (of pixels: rank) each unit of a layer sees, int64, ranks from 1."""

        if layer < len(self.layers) - 1:
            return getattr(self, f"degrees{layer}")
        return torch.arange(self.size, device=self.layers[0].weight.device)

    def shown_by(self, layer: int) -> Tensor:
        """Returns the degree (rank) of each input of a layer."""

        return self.seen_by(len(self.layers) - 1) + 1 if layer == 0 else self.seen_by(layer - 1)

    def masked(self, layer: int, order: Tensor) -> Tensor:
        """Returns a layer's weights for pixels in an order, zeros where it may not look."""

        weight = self.layers[layer].weight
        if layer == 0:
            weight = weight[:, order]
        if layer == len(self.layers) - 1:
            weight = weight[order]
        return weight * (self.shown_by(layer) <= self.seen_by(layer)[:, None])

    def masked_direct(self, order: Tensor) -> Tensor:
        """Returns the weights from pixels to pixels, in an order."""

        assert self.direct is not None
        return self.direct.weight[order][:, order].tril(-1)

    def forward(self, x: Tensor, order: Tensor) -> Tensor:
        """Maps pixels `(n, D)` in an order to their logits `(n, D)`, in the same order."""

        h, last = x, len(self.layers) - 1
        for i, layer in enumerate(self.layers):
            bias = layer.bias[order] if i == last else layer.bias
            h = F.linear(h, self.masked(i, order), bias)
            h = h.relu() if i < last else h
        return h if self.direct is None else h + F.linear(x, self.masked_direct(order))

    def growing(self, order: Tensor, n: int) -> Growing:
        """Returns what draws `n` images pixel by pixel in an order."""

        return Growing(self, order, n)


class Growing:
    """A net that is computed as its pixels come: each unit once, as soon as all that it sees is there."""

    def __init__(self, net: MaskedNet, order: Tensor, n: int):
        count = len(net.layers)
        self.weights = [net.masked(i, order).detach().double() for i in range(count)]
        self.biases = [layer.bias.detach().double() for layer in net.layers]
        self.biases[-1] = self.biases[-1][order]
        self.direct = None if net.direct is None else net.masked_direct(order).detach().double()
        #: how many units of each layer (0: pixels) see no more than `t` pixels
        seen = torch.arange(net.size + 1)
        ends = [torch.searchsorted(net.seen_by(i).cpu(), seen, right=True) for i in range(count - 1)]
        self.ends = [e.tolist() for e in (seen, *ends)]
        self.units = [w.new_zeros(n, w.shape[1]) for w in self.weights]
        self.t = 0

    def logit(self) -> Tensor:
        """Returns the logits of the pixel that comes next, `(n,)`."""

        t, end = self.t, self.ends[-1][self.t]
        logit = self.units[-1][:, :end] @ self.weights[-1][t, :end] + self.biases[-1][t]
        return logit if self.direct is None else logit + self.units[0][:, :t] @ self.direct[t, :t]

    def take(self, pixel: Tensor) -> None:
        """Enters the pixel, `(n,)` of -1 and 1, and computes the units that waited for it."""

        self.units[0][:, self.t] = pixel
        self.t += 1
        for i, (weight, bias) in enumerate(zip(self.weights[:-1], self.biases[:-1], strict=True)):
            first, last = self.ends[i + 1][self.t - 1], self.ends[i + 1][self.t]
            seen = self.ends[i][self.t]
            if last > first:
                h = F.linear(self.units[i][:, :seen], weight[first:last, :seen], bias[first:last])
                self.units[i + 1][:, first:last] = h.relu()


def orders_of(size: int, count: int, seed: int) -> Tensor:
    """Returns `count` orders of `size` pixels, int64 `(count, size)`: the raster's, then random ones."""

    random = np.random.Generator(np.random.Philox(key=seed % 2**128))
    rows = [np.arange(size), *(random.permutation(size) for _ in range(count - 1))]
    return torch.from_numpy(np.stack(rows))


def degrees_of(width: int, size: int) -> Tensor:
    """Returns the degrees of a hidden layer's units, from 1 to `size - 1`, spread evenly and in order."""

    return 1 + torch.arange(width) * max(1, size - 1) // width
