r"""The levels that data of a model have, and the numbers that stand for them.

Level :math:`k \in \{0, \dots, L - 1\}` has the value :math:`a + k (b - a) / (L - 1)` in the range :math:`[a, b]`: what
`dgm score` calls the data's levels. A model of levels states their probabilities, so its `log_prob` is exact as it is.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dgmcore.errors import DataError, RegistryError

__all__ = ["Levels"]


class Levels(NamedTuple):
    """`count` levels from `low` to `high`."""

    count: int
    low: float
    high: float

    @classmethod
    def checked(cls, count: int, range: tuple[float, float], owner: str) -> Levels:
        """Returns the levels that a config asks for.

        Raises:
            RegistryError: If they are none.
        """

        low, high = range
        if count < 2:
            raise RegistryError(f"config of {owner}: levels: {count} are too few", "give at least 2")
        if not low < high or not abs(low) + abs(high) < float("inf"):
            raise RegistryError(f"config of {owner}: range: the lower end comes first", "for example [-1, 1]")
        return cls(count, float(low), float(high))

    @property
    def step(self) -> float:
        return (self.high - self.low) / (self.count - 1)

    @property
    def middle(self) -> float:
        return (self.high + self.low) / 2

    def values(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Maps levels, int64, to their values."""

        return (self.low + self.step * index.double()).to(dtype)

    def index(self, x: Tensor) -> Tensor:
        """Maps values `(n, ...)` to the levels that they stand for, int64; raises as :meth:`places`."""

        return self.places(x).long()

    def places(self, x: Tensor) -> Tensor:
        """Maps values `(n, ...)` to the levels that they stand for, as whole floating-point numbers.

        Raises:
            DataError: If a value stands for none: a symbol outside of the alphabet, an image of other levels.
        """

        slack = 1e-3 + torch.finfo(x.dtype).eps * max(abs(self.low), abs(self.high)) / self.step
        slack = min(slack, 0.45)
        x = x.detach()
        place = ((x if x.dtype == torch.float64 else x.float()) - self.low).div_(self.step)
        level = place.round().clamp_(0, self.count - 1)
        gap = place.sub_(level).abs_()
        traced = torch.compiler.is_exporting()  # a graph has no values to look at
        if not traced and gap.numel() and not float(gap.max()) <= slack:  # not so for NaN
            self._refuse(x, gap <= slack)
        return level

    def _refuse(self, x: Tensor, good: Tensor) -> None:
        datum = int((~good).flatten(1).any(1).nonzero()[0])
        value = float(x[datum][~good[datum]].flatten()[0])
        raise DataError(
            f"datum {datum} has the value {value:g}, which is none of the {self.count} levels "
            f"from {self.low:g} to {self.high:g}",
            self._advice(),
        )

    def _advice(self) -> str:
        if self.count == 2:
            return "give data of two levels, as the data set mnist-binary"
        return f"give data of {self.count} levels in that range, such as numbers {self.low:g} + {self.step:g} k"
