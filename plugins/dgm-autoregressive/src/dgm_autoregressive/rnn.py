r"""Recurrent networks over sequences of symbols."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Depth, Real, Size
from dgmcore.model import Model
from dgmcore.noise import Noise

from .chain import Chain, uniform
from .heads import Softmax
from .levels import Levels

__all__ = ["RNN"]


class RNN(Chain):
    r"""A chain over the symbols of a sequence, whose past is a hidden state [1], [2]:

    .. math:: h_t = \mathrm{cell}(h_{t-1}, e(x_{t-1})), \qquad
              p(x_t \mid x_{<t}) = \mathrm{softmax}(W h_t + b)_{x_t},

    with one-hot vectors e, of which the first, :math:`e(x_0)`, is zero.

    Arguments:
        config: `length`; `symbols`, which stand at equal distances in `range`; the `cell`, `gru` or `lstm`, its
            `hidden` units and how many `layers` of it.

    References:
        [1] Reconstructing quantum states with generative models (Carrasquilla et al., 2019),
        https://arxiv.org/abs/1810.10584
        [2] What physicists want to know about advances in generative modeling (Albergo), section 1
    """

    class Config(Config):
        length: Size = 8
        symbols: Annotated[int, msgspec.Meta(ge=2, le=65_536)] = 4
        range: tuple[Real, Real] = (0.0, 3.0)
        cell: Literal["gru", "lstm"] = "gru"
        hidden: Size = 64
        layers: Depth = 1

    example: ClassVar[Mapping[str, Any]] = {"length": 5, "hidden": 8, "layers": 2}
    data_range = (0.0, 3.0)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        levels = Levels.checked(c.symbols, c.range, "RNN")
        self._state((c.length,), levels, torch.arange(c.length)[None])
        self.head = Softmax(levels)
        self.network = RecurrentNet(c.cell, c.symbols, c.hidden, c.layers)

    def log_conditionals(self, x: Tensor, chain: int = 0) -> Tensor:
        index = self.levels.index(x)
        before = F.pad(self._onehot(index[:, :-1]), (0, 0, 1, 0)).to(self.dtype)
        logits, _ = self.network(before)
        return self.head.log_prob(logits.mT, index.unsqueeze(1)).squeeze(1)

    def _onehot(self, index: Tensor) -> Tensor:
        return F.one_hot(index, self.levels.count)

    def draws(self, noise: Noise) -> Iterator[tuple[Tensor, Tensor]]:
        """Draws symbol by symbol; the hidden state is all that is kept of those before."""

        u = uniform(noise, self.config.length)
        network = copy.deepcopy(self.network).double()
        before, state = u.new_zeros(noise.n, 1, self.levels.count), None
        for t in range(self.config.length):
            logits, state = network(before, state)
            level = self.head.draw(logits[:, 0], u[:, t : t + 1])
            before = self._onehot(level).to(u.dtype)
            yield self.orders[0, t : t + 1], level


class RecurrentNet(nn.Module):
    """Maps one-hot vectors `(n, T, symbols)` and a state to logits `(n, T, symbols)` and the next state."""

    def __init__(self, cell: str, symbols: int, hidden: int, layers: int):
        super().__init__()
        self.cell = {"gru": nn.GRU, "lstm": nn.LSTM}[cell](symbols, hidden, layers, batch_first=True)
        self.out = nn.Linear(hidden, symbols)

    def forward(self, x: Tensor, state: Any = None) -> tuple[Tensor, Any]:
        h, state = self.cell(x, state)
        return self.out(h), state
