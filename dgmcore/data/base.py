"""What a data set is to the rest of the core."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..noise import Noise

__all__ = ["Dataset"]


class Dataset(ABC):
    """Data, indexable by integer arrays; images are channels-first.

    Attributes:
        name: As in the registry, or the path.
        event_shape: The shape of one datum.
        range: The range of the values that `take` returns, or None if unbounded.
        levels: The number of levels of quantised data (256 for 8-bit images), else None.
    """

    name: str
    event_shape: tuple[int, ...]
    range: tuple[float, float] | None = None
    levels: int | None = None

    @abstractmethod
    def __len__(self) -> int:
        """The number of data; endless toy data have the length of their nominal split."""

    @abstractmethod
    def take(self, index: np.ndarray) -> Tensor:
        """Returns the data at `index`, float32 `(len(index), *event_shape)`."""

    def labels(self, index: np.ndarray) -> Tensor | None:
        """Returns int64 labels at `index`, or None."""
        return None

    def draw(self, noise: Noise) -> Tensor | None:
        """Endless data: returns `noise.n` fresh data; None for finite data sets."""
        return None

    def drawn_labels(self, noise: Noise) -> Tensor | None:
        """Returns the int64 labels of what :meth:`draw` makes of the same noise, or None."""
        return None
