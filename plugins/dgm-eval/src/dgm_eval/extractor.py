"""The network whose features metrics compare, fed with another model's data."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import Tensor

from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import unit
from dgmcore.loading.load import load

if TYPE_CHECKING:
    from dgmcore.entry import Data, Entry
    from dgmcore.interfaces import Features

__all__ = ["Extractor"]


class _Classifier(Protocol):
    def logits(self, x: Tensor) -> Tensor: ...


class Extractor:
    """A feature network for data of a given shape and range.

    Arguments:
        name: The network's entry.
        data: What it will be given.
        device: Where it runs.
        rounded: Whether images are rounded to the data's levels first, as a saved picture is; without, features are
            differentiable in the data.

    Raises:
        UsageError: If the entry has no features.
    """

    def __init__(self, name: str, data: Data, device: torch.device, *, rounded: bool = True):
        self.name, self.data, self.rounded = name, data, rounded
        self.model = load(name, device=device)
        self.entry = cast("Entry", self.model.entry)  # what is loaded by name has one
        if not self.model.can("features"):
            raise UsageError(f"{name} has no features", "see `dgm list --can features`")

    @property
    def is_classifier(self) -> bool:
        return hasattr(self.model, "logits")

    def features(self, x: Tensor) -> Tensor:
        """Maps data `(n, *event_shape)` to features `(n, d)`."""
        return cast("Features", self.model).features(self._carried(x))

    def logits(self, x: Tensor) -> Tensor:
        """Maps data `(n, *event_shape)` to a classifier's logits `(n, classes)`."""
        if not self.is_classifier:
            raise UsageError(f"{self.name} is no classifier", "name one with --features ENTRY")
        return cast(_Classifier, self.model).logits(self._carried(x))

    def _carried(self, x: Tensor) -> Tensor:
        """Carries data to the range and size of the network's own."""

        shape, (low, high) = self.model.event_shape, self.entry.data.range or (0.0, 1.0)
        if x.dim() != len(shape) + 1 or x.shape[1] != shape[0]:
            raise UsageError(
                f"{self.name} takes data of shape {shape}, not {tuple(x.shape[1:])}",
                "name another extractor with --features ENTRY",
            )
        x = unit(x, self.data, self.rounded)
        if x.shape[1:] != shape:
            x = torch.nn.functional.interpolate(x, size=shape[1:], mode="bilinear", antialias=True)
        return low + (high - low) * x

    def fields(self) -> dict[str, Any]:
        """What a record says of the features."""

        shape, weights = self.model.event_shape, self.entry.weights
        resized = shape[-1] if shape[1:] != tuple(self.data.event_shape)[1:] else None
        return {"features": self.name, "features_sha256": weights and weights.sha256, "resize": resized}
