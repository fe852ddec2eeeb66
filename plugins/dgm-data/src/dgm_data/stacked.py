"""Images made of the grey ones of another set."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from dgmcore.data.images import Images

__all__ = ["StackedImages"]


class StackedImages(Images):
    """Grey images of another set as the channels of one: each row of `triples` is an image.

    The label is made of the parts' labels as its decimal digits.
    """

    def __init__(self, name: str, base: Images, triples: np.ndarray):
        self.name, self.base, self.triples = name, base, triples
        self.event_shape = (triples.shape[1], *base.event_shape[1:])

    def __len__(self) -> int:
        return len(self.triples)

    def raw(self, index: np.ndarray) -> Tensor:
        rows = self.triples[np.asarray(index)]
        return self.base.raw(rows.ravel()).reshape(len(rows), *self.event_shape)

    def labels(self, index: np.ndarray) -> Tensor | None:
        rows = self.triples[np.asarray(index)]
        digits = self.base.labels(rows.ravel())
        if digits is None:
            return None
        powers = 10 ** torch.arange(rows.shape[1] - 1, -1, -1)
        return (digits.reshape(rows.shape) * powers).sum(1)
