r"""Convolutions that look back only, gated, in two stacks [1].

For a pixel in row y and column x, the vertical stack :math:`v` sees the rows above it, all columns within its reach;
the horizontal stack :math:`h` sees what is left of it in its own row, and the vertical one. With r the reach,

.. math:: v^0_{y,x} &= W * \text{input}_{y-R..y-1,\, x-R..x+R}, &
          h^0_{y,x} &= W' * \text{input}_{y,\, x-R..x-1}, \\
          a^l &= V * v^{l-1}_{y-r..y,\, x-r..x+r}, & v^l &= v^{l-1} + O\, g(a^l), \\
          b^l &= H * h^{l-1}_{y,\, x-r..x} + A\, a^l, & h^l &= h^{l-1} + O'\, g(b^l),

with :math:`g(p, q) = \tanh(p)\, \sigma(q)` of the two halves of the channels. Unlike in [1], the vertical stack is
residual too, and the net may know where it is (a learned map is added to both stacks' first layers).

References:
    [1] Conditional Image Generation with PixelCNN Decoders (van den Oord et al., 2016), section 2.2,
    https://arxiv.org/abs/1606.05328
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["GatedLayer", "GatedNet", "RowByRow"]


def gate(x: Tensor) -> Tensor:
    r"""Returns :math:`\tanh(p)\, \sigma(q)` of the halves of the channels."""

    p, q = x.chunk(2, 1)
    return torch.tanh(p) * torch.sigmoid(q)


class GatedLayer(nn.Module):
    """One layer of both stacks; a net of a single row has no vertical one, and the last layer's goes no further."""

    def __init__(self, channels: int, reach: int, vertical: bool, last: bool):
        super().__init__()
        self.reach = reach
        self.across = nn.Conv2d(channels, 2 * channels, (1, reach + 1))
        self.out = nn.Conv2d(channels, channels, 1)
        if vertical:
            self.down = nn.Conv2d(channels, 2 * channels, (reach + 1, 2 * reach + 1))
            self.link = nn.Conv2d(2 * channels, 2 * channels, 1, bias=False)
            self.down_out = None if last else nn.Conv2d(channels, channels, 1)

    def forward(self, v: Tensor | None, h: Tensor) -> tuple[Tensor | None, Tensor]:
        """Maps the stacks, each `(n, F, H, W)`, to the next layer's."""

        b = self.across(F.pad(h, (self.reach, 0)))
        if v is not None:
            a = self.down(F.pad(v, (self.reach, self.reach, self.reach, 0)))
            b = b + self.link(a)
            v = self.next_down(v, a)
        return v, h + self.out(gate(b))

    def next_down(self, v: Tensor, a: Tensor) -> Tensor | None:
        """Returns the vertical stack of the next layer, None after the last."""

        return None if self.down_out is None else v + self.down_out(gate(a))


class GatedNet(nn.Module):
    """Maps images `(n, inputs, H, W)` to numbers for each pixel, `(n, outputs, H, W)`, from those before it."""

    def __init__(
        self,
        *,
        inputs: int,
        outputs: int,
        size: tuple[int, int],
        channels: int,
        layers: int,
        reach: int,
        first: int,
        hidden: int,
        positions: bool,
    ):
        super().__init__()
        self.size, self.first = size, first
        vertical = size[0] > 1
        # one more input is 1 in the image and 0 outside of it
        self.left = nn.Conv2d(inputs + 1, channels, (1, first))
        self.above = nn.Conv2d(inputs + 1, channels, (first, 2 * first + 1)) if vertical else None
        stacks = 2 if vertical else 1
        self.positions = nn.Parameter(torch.zeros(stacks, channels, *size)) if positions else None
        self.layers = nn.ModuleList(GatedLayer(channels, reach, vertical, i == layers - 1) for i in range(layers))
        self.head = nn.Sequential(nn.ReLU(), nn.Conv2d(channels, hidden, 1), nn.ReLU(), nn.Conv2d(hidden, outputs, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, 0, 0, 1), value=1.0)
        R = self.first
        h = self.left(F.pad(x[..., :-1], (R, 0)))
        v = None if self.above is None else self.above(F.pad(x[..., :-1, :], (R, R, R, 0)))
        if self.positions is not None:
            h = h + self.positions[0]
            v = None if v is None else v + self.positions[1]
        for layer in self.layers:
            v, h = layer(v, h)
        return self.head(h)


class RowByRow:
    """Runs a net pixel by pixel, and keeps all that it has computed: of the row, and of the rows above within reach.

    Each pixel costs what it costs in one pass over the whole image.

    Arguments:
        net: The net.
        n: The number of images.
    """

    def __init__(self, net: GatedNet, n: int):
        self.net, self.n = net, n
        self.height, self.width = net.size
        self.y = self.x = 0
        like = next(net.parameters())
        channels, inputs = net.left.out_channels, net.left.in_channels
        self.across = [_flat(layer.across) for layer in net.layers]
        self.out = [_flat(layer.out) for layer in net.layers]
        self.left = _flat(net.left)
        self.head = [_flat(net.head[i]) for i in (1, 3)]
        R = net.first
        #: of each layer, this row `(n, r + W, F)` with zeros to the left of it, and the rows above `(n, F, r, W)`
        self.rows = [like.new_zeros(n, layer.reach + self.width, channels) for layer in net.layers]
        self.past = [like.new_zeros(n, channels, layer.reach, self.width) for layer in net.layers]
        #: of the input: this row, and the rows above
        self.row = like.new_zeros(n, R + self.width, inputs)
        self.rows_above = like.new_zeros(n, inputs, R, self.width)
        self.links: list[Tensor] = []

    def step(self, seen: Tensor | None) -> Tensor:
        """Maps the pixel before this one, `(n, inputs)`, None for the first, to this one's numbers `(n, outputs)`."""

        if seen is not None:
            self._take(F.pad(seen, (0, 1), value=1.0))
        if self.x == 0:
            self._begin_row()
        h = self._pixel()
        self.x += 1
        return h

    def _take(self, seen: Tensor) -> None:
        """Enters the pixel that has just been drawn."""

        self.row[:, self.net.first + self.x - 1] = seen
        if self.x == self.width:
            done = self.row[:, self.net.first :].movedim(1, -1).unsqueeze(2)
            self.rows_above = torch.cat([self.rows_above, done], 2)[:, :, 1:]
            self.row.zero_()
            self.x, self.y = 0, self.y + 1

    def _begin_row(self) -> None:
        """Runs the vertical stack for this row, which depends on the rows above alone."""

        net, R = self.net, self.net.first
        if net.above is None:
            return
        v = net.above(F.pad(self.rows_above, (R, R)))
        if net.positions is not None:
            v = v + net.positions[1, :, self.y, None]
        self.links = []
        for i, layer in enumerate(net.layers):
            window = torch.cat([self.past[i], v], 2)
            self.past[i] = window[:, :, 1:]
            a = layer.down(F.pad(window, (layer.reach, layer.reach)))
            v = layer.next_down(v, a)
            self.links.append(layer.link(a)[:, :, 0].movedim(1, -1).contiguous())  # (n, W, 2 F)

    def _pixel(self) -> Tensor:
        """Runs the horizontal stack for this pixel."""

        net, x = self.net, self.x
        h = F.linear(self.row[:, x : x + net.first].flatten(1), *self.left)
        if net.positions is not None:
            h = h + net.positions[0, :, self.y, x]
        for i, layer in enumerate(net.layers):
            r, row = layer.reach, self.rows[i]
            row[:, r + x] = h
            b = F.linear(row[:, x : x + r + 1].flatten(1), *self.across[i])
            if self.links:
                b = b + self.links[i][:, x]
            h = h + F.linear(gate(b), *self.out[i])
        h = F.linear(h.relu(), *self.head[0])
        return F.linear(h.relu(), *self.head[1])


def _flat(conv: nn.Conv2d) -> tuple[Tensor, Tensor | None]:
    """Returns a convolution of one row as a matrix over the flattened `(columns, channels)`, and its bias."""

    return conv.weight[:, :, 0].transpose(1, 2).flatten(1).contiguous(), conv.bias
