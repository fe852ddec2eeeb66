r"""Masked auto-encoders: one net whose masks make it a chain, in several orders [1]."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Depth, Real, Shape, Widths
from dgmcore.model import Model
from dgmcore.noise import Noise

from .chain import Chain, uniform
from .heads import at_least_single
from .levels import Levels

__all__ = ["MADE", "MaskedNet", "orders_of"]


_ROWS = 2048  # images whose hidden units stay in the processor's cache
_BLOCKS = 4  # of a layer's units, each of which sees what its last unit may see and no more


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
        event_shape: Shape = (1, 28, 28)
        hidden: Widths = (1000,)
        orders: Depth = 1
        seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 0
        direct: bool = True
        range: tuple[Real, Real] = (0.0, 1.0)

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
        ordered = self._judge(self._signs(x), chain)
        return torch.empty_like(ordered).scatter(1, self.orders[chain].expand_as(ordered), ordered)

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of images, of the mixture of all orders, in nats, shape `(n,)`."""

        signs = self._signs(x)
        chains = torch.stack([self._judge(signs, m).sum(1) for m in range(len(self.orders))])
        return chains.logsumexp(0) - math.log(len(chains))

    def _signs(self, x: Tensor) -> Tensor:
        """Maps images to -1 and 1, `(n, D)`."""

        return self.levels.places(x).mul_(2).sub_(1).flatten(1).to(self.dtype)

    def _judge(self, signs: Tensor, chain: int) -> Tensor:
        """Maps signs to the log-probability of each pixel given those before it, in the order of the chain."""

        order = self.orders[chain]
        net = self.network(order)

        def judge(signs: Tensor) -> Tensor:
            signs = signs if chain == 0 else signs[:, order]
            return F.logsigmoid(signs * at_least_single(net(signs)))

        if torch.is_grad_enabled():
            return judge(signs)
        return torch.cat([judge(some) for some in signs.split(_ROWS)])

    def draws(self, noise: Noise) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws pixel by pixel; every image has an order of its own. Each hidden unit is computed once."""

        count, size = self.orders.shape
        chosen = noise.integers(count, name="order")
        u = uniform(noise, size)
        groups = [(rows, m) for m in range(count) if len(rows := (chosen == m).nonzero()[:, 0])]
        growing = [Growing(self.network(self.orders[m]), len(rows)) for rows, m in groups]
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

    The units of a hidden layer lie by their degrees.
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

    def forward(self, order: Tensor) -> Ordered:
        """Returns the net for pixels that come in an order, int64 `(D,)`."""

        ranks = torch.arange(1, self.size + 1, device=order.device)
        degrees = [getattr(self, f"degrees{i}") for i in range(len(self.layers) - 1)]
        layers = []
        for i, (layer, shown, seen) in enumerate(
            zip(self.layers, (ranks, *degrees), (*degrees, ranks - 1), strict=True)
        ):
            weight = layer.weight[:, order] if i == 0 else layer.weight
            last = i == len(degrees)
            weight, bias = (weight[order], layer.bias[order]) if last else (weight, layer.bias)
            layers.append(Masked.of(weight, bias, shown, seen))
        direct = None
        if self.direct is not None:
            direct = Masked.of(self.direct.weight[order][:, order], None, ranks, ranks - 1)
        return Ordered(layers, direct)


class Masked(NamedTuple):
    """An affine map whose unit u sees the inputs i with `shown[i] <= seen[u]` only; both are in ascending order."""

    weight: Tensor
    bias: Tensor | None
    shown: Tensor
    seen: Tensor

    @classmethod
    def of(cls, weight: Tensor, bias: Tensor | None, shown: Tensor, seen: Tensor) -> Masked:
        """Returns the map with zeros where it may not look."""

        return cls(weight * (shown <= seen[:, None]), bias, shown, seen)

    def ends(self, degrees: Tensor) -> Tensor:
        """Returns how many of the inputs are shown to each degree."""

        return torch.searchsorted(self.shown, degrees, right=True)

    def __call__(self, h: Tensor) -> Tensor:
        """Maps inputs `(n, I)` to units `(n, U)`; where no gradient is recorded, without most of the zeros."""

        if torch.is_grad_enabled():
            return F.linear(h, self.weight, self.bias)
        count = len(self.weight)
        bounds = [count * i // _BLOCKS for i in range(_BLOCKS + 1)]
        parts = []
        for first, end in pairwise(bounds):
            if end > first:
                inputs = int(self.ends(self.seen[end - 1 : end]))
                bias = None if self.bias is None else self.bias[first:end]
                parts.append(F.linear(h[:, :inputs], self.weight[first:end, :inputs], bias))
        return torch.cat(parts, 1)


class Ordered(NamedTuple):
    """A masked net for one order."""

    layers: list[Masked]
    direct: Masked | None

    def __call__(self, x: Tensor) -> Tensor:
        """Maps pixels `(n, D)` of -1 and 1 in the order to their logits `(n, D)`, given those before each."""

        h = x
        for layer in self.layers[:-1]:
            h = layer(h).relu()
        h = self.layers[-1](h)
        return h if self.direct is None else h + self.direct(x)


class Growing:
    """A net that is computed as its pixels come: each unit once, as soon as all that it sees is there.

    Arguments:
        net: The net for an order.
        n: The number of images.
    """

    def __init__(self, net: Ordered, n: int):
        def double(t: Tensor | None) -> Tensor | None:
            return None if t is None else t.detach().double()

        self.layers = [(double(layer.weight), double(layer.bias)) for layer in net.layers]
        self.direct = None if net.direct is None else double(net.direct.weight)
        #: how many inputs of each layer are known when `t` pixels are
        times = torch.arange(len(net.layers[0].shown) + 1, device=net.layers[0].shown.device)
        self.known = [layer.ends(times).tolist() for layer in net.layers]
        self.inputs = [weight.new_zeros(n, weight.shape[1]) for weight, _ in self.layers]
        self.t = 0

    def logit(self) -> Tensor:
        """Returns the logits of the pixel that comes next, `(n,)`."""

        (weight, bias), t = self.layers[-1], self.t
        known = self.known[-1][t]
        logit = self.inputs[-1][:, :known] @ weight[t, :known] + bias[t]
        return logit if self.direct is None else logit + self.inputs[0][:, :t] @ self.direct[t, :t]

    def take(self, pixel: Tensor) -> None:
        """Enters the pixel, `(n,)` of -1 and 1, and computes the units that waited for it."""

        self.inputs[0][:, self.t] = pixel
        self.t += 1
        for i, (weight, bias) in enumerate(self.layers[:-1]):
            first, last = self.known[i + 1][self.t - 1], self.known[i + 1][self.t]
            seen = self.known[i][self.t]
            if last > first:
                h = F.linear(self.inputs[i][:, :seen], weight[first:last, :seen], bias[first:last])
                self.inputs[i + 1][:, first:last] = h.relu()


def orders_of(size: int, count: int, seed: int) -> Tensor:
    """Returns `count` orders of `size` pixels, int64 `(count, size)`: the raster's, then random ones."""

    random = np.random.Generator(np.random.Philox(key=seed % 2**128))
    rows = [np.arange(size), *(random.permutation(size) for _ in range(count - 1))]
    return torch.from_numpy(np.stack(rows))


def degrees_of(width: int, size: int) -> Tensor:
    """Returns the degrees of a hidden layer's units, from 1 to `size - 1`, spread evenly and in order."""

    return 1 + torch.arange(width) * max(1, size - 1) // width
