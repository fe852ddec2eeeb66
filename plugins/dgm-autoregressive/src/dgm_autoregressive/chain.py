r"""What all autoregressive models share: exact densities of levels, and sampling value by value.

.. math:: \log p(x) = \sum_{t=1}^D \log p(x_{o(t)} \mid x_{o(1)}, \dots, x_{o(t-1)})
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import Noise

from .levels import Levels

__all__ = ["Chain", "uniform"]


def uniform(noise: Noise, *shape: int) -> Tensor:
    """Returns uniform noise between 0 and 1, float64 `(n, *shape)`, the same whatever the precision of a model."""

    bits = 32
    return (noise.integers(2**bits, *shape, name="u").double() + 0.5) / 2**bits


class Chain(Model):
    """A model of discrete data that draws and judges value by value.

    A subclass sets `event_shape`, `levels` and `orders`, and gives `log_conditionals` and `draws`. Draws are computed
    in double precision: the rounding of a batch's arithmetic could tip a value over, and all that come after it.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.EXACT
    base_measure = "counting"
    phases: ClassVar[Mapping[str, str]] = {"likelihood": "dgm_train.objectives:MaximumLikelihood"}

    levels: Levels
    orders: Tensor

    def _state(self, event_shape: tuple[int, ...], levels: Levels, orders: Tensor) -> None:
        """Says what the data are, and in which orders their values come."""

        self.event_shape, self.levels = tuple(event_shape), levels
        self.data_range, self.data_levels = (levels.low, levels.high), levels.count
        self.register_buffer("orders", orders, persistent=False)

    def log_conditionals(self, x: Tensor, chain: int = 0) -> Tensor:
        """Maps data `(n, *event_shape)` to the log-probability of each value given those before, `(n, D)`.

        Raises:
            DataError: If a value is none of the model's levels.
        """

        raise NotImplementedError

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of data, in nats, shape `(n,)`; raises as :meth:`log_conditionals`."""

        return self.log_conditionals(x).sum(1)

    def draws(self, noise: Noise) -> Iterator[tuple[Tensor, Tensor]]:
        """Yields what comes next: places `(n, k)` or `(k,)` of flattened data, and the levels drawn there `(n, k)`."""

        raise NotImplementedError

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        for x in self._states(noise, options):  # noqa: B007
            pass
        return x.view(noise.n, *self.event_shape)

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the data as their values come; what is still to come has the middle of the range."""

        for x in self._states(noise, options):
            yield x.view(noise.n, *self.event_shape).clone()

    @torch.no_grad()
    def _states(self, noise: Noise, options: Mapping[str, Any]) -> Iterator[Tensor]:
        self.sampling(options)
        size = self.orders.shape[1]
        x = torch.full((noise.n, size), self.levels.middle, dtype=self.dtype, device=self.device)
        yield x
        for places, levels in self.draws(noise):
            x.scatter_(1, places.expand(noise.n, -1), self.levels.values(levels, x.dtype))
            yield x
