"""Data as metrics look at them: images as a saved picture shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from ..entry import Data

__all__ = ["unit"]


def unit(x: Tensor, data: Data, rounded: bool = True) -> Tensor:
    """Carries images to [0, 1] and rounds them to the data's levels, as a saved picture is; other data stay."""

    if data.range is None:
        return x
    low, high = data.range
    x = ((x - low) / (high - low)).clamp(0, 1)
    return (x * (data.levels - 1)).round() / (data.levels - 1) if data.levels and rounded else x
