"""Reference statistics: the features of real data, as an entry that others can compare their samples with."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from dgmcore import Config, Model
from dgmcore.config import Shape, Size
from dgmcore.errors import UsageError
from dgmcore.loading.load import load

from ..real import PREFIX

__all__ = ["ReferenceStatistics", "reference"]


class ReferenceStatistics(Model):
    """The features of real data, `(count, dim)`: what metrics need of them, without the data."""

    class Config(Config):
        features: str = "lenet-mnist"  # the entry of the network
        features_sha256: str | None = None
        against: str = ""  # the data, with their split
        count: Size = 1
        dim: Size = 1
        event_shape: Shape = (1, 28, 28)

    config: Config
    values: Tensor

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.config.event_shape)
        self.register_buffer("values", torch.zeros(self.config.count, self.config.dim))

    def features(self, x: Tensor) -> Tensor:
        """Maps data `(n, *event_shape)` to what is kept of real data: the network's features `(n, dim)`."""

        network = load(self.config.features, device=x.device, dtype=x.dtype)
        found: Tensor = network.features(x)
        return found

    def check(self, by: dict[str, Any]) -> None:
        """Refuses features of another network: `by` says of which they are, as records do.

        Raises:
            UsageError: If it is not the one that these were made with.
        """

        said = self.config
        if by["features"] != said.features or by["features_sha256"] != said.features_sha256:
            what = f"the statistics are of the features of {said.features}, sha256 {str(said.features_sha256)[:12]}..."
            raise UsageError(what, "use these features, or make statistics of others: dgm stats")


def reference(against: str) -> ReferenceStatistics:
    """Loads the statistics that `stats:NAME` names.

    Raises:
        UsageError: If it is another entry.
    """

    name = against.removeprefix(PREFIX)
    model = load(name)
    if not isinstance(model, ReferenceStatistics):
        raise UsageError(f"{name} has no reference statistics", "make some: dgm stats DATA --out FOLDER")
    return model
