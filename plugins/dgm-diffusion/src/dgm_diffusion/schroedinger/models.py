"""The two bridges: from data to Gaussian noise, and between two data sets."""

from __future__ import annotations

import math
from collections import deque
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from dgmcore import Likelihood, Model, Options
from dgmcore.data.spec import DataSpec
from dgmcore.errors import DataError
from dgmcore.noise import IndexedNoise, Noise

from ..odes import Probes, log_density, log_normal, sign_probes
from .chain import Bridge, Positive, drawn

__all__ = ["DataBridge", "GaussianBridge"]


class GaussianBridge(Bridge):
    r"""A bridge from data to :math:`N(m, s^2 I)`, with m = `prior_mean` and s = `prior_std`.

    Its steps are short at the data's end. The probability flow of both drifts (De Bortoli et al., 2021, section 4)
    carries the prior's density to the data: an ESTIMATE, for the chains reach their ends only nearly.
    """

    class Config(Bridge.Config):
        prior_mean: Annotated[float, msgspec.Meta(ge=-1e3, le=1e3)] = 0.0
        prior_std: Positive = 1.0

    class Scoring(Options):
        probes: Probes = 0

    likelihood = Likelihood.ESTIMATE

    def growth(self, u: Tensor) -> Tensor:
        return self.config.ratio**u

    def prior_points(self, noise: Noise, split: str) -> Tensor:
        return self.config.prior_mean + self.config.prior_std * noise.normal(*self.event_shape, name="x")

    # --- coding and measuring ------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Carries data to standard normal noise along the probability flow."""

        return (deque(self.flow("to-prior", x), maxlen=1).pop() - self.config.prior_mean) / self.config.prior_std

    def decode(self, z: Tensor) -> Tensor:
        x = self.config.prior_mean + self.config.prior_std * z
        return deque(self.flow("to-data", x), maxlen=1).pop()

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the density of the probability flow, nats, `(n,)`."""

        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        probes = sign_probes(noise, self.event_shape, self.scoring(options).probes)
        mean, std, steps = self.config.prior_mean, self.config.prior_std, self.config.steps

        def after(x: Tensor, k: int) -> Tensor:
            """The log-density of the flow's law at state k."""

            if k == steps:
                return log_normal((x - mean) / std) - math.prod(self.event_shape) * math.log(std)
            times = torch.stack([torch.zeros_like(self.gammas[k]), self.gammas[k]]).to(x)
            return log_density(lambda x, t: self.velocity(x, k), x, times, lambda x: after(x, k + 1), probes)

        return after(x, 0)


class DataBridge(Bridge):
    """A bridge from the entry's data to another data set, `prior`, in the same shape and range.

    Its steps are short at both ends. Neither end has a density, so the bridge has none; it needs both data sets, to be
    trained and to be sampled.
    """

    class Config(Bridge.Config):
        prior: DataSpec = DataSpec(dataset="moons")

    example = {**Bridge.example, "prior": {"dataset": "swissroll"}}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self._opened: dict[str, Any] = {}

    def growth(self, u: Tensor) -> Tensor:
        return self.config.ratio ** (1 - (2 * u - 1).abs())

    def prior_points(self, noise: Noise, split: str) -> Tensor:
        from dgmcore.data import open_data

        if split not in self._opened:
            self._opened[split] = open_data(self.config.prior, split=split)
        data = self._opened[split]
        if tuple(data.event_shape) != self.event_shape:
            raise DataError(
                f"{data.name} has data of shape {tuple(data.event_shape)}, this bridge {self.event_shape}",
                "name another data set as prior in the config, or resize it there",
            )
        return drawn(data, noise)
