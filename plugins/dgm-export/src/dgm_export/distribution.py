"""A model as a distribution of torch: `model.as_distribution()`."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Size, Tensor
from torch.distributions import Distribution, constraints

from dgmcore.errors import CapabilityError, UsageError
from dgmcore.interfaces import Density, Generator, Likelihood, Pushforward
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.settings import undisturbed

__all__ = ["Levels", "ModelDistribution", "as_distribution"]


class Levels(constraints.Constraint):
    """The levels of quantised data: so many values, evenly spaced from `low` to `high`."""

    is_discrete = True

    def __init__(self, low: float, high: float, levels: int):
        self.low, self.step, self.levels = low, (high - low) / (levels - 1), levels

    def check(self, value: Tensor) -> Tensor:
        """Tells of each number whether it is a level."""

        place = (value - self.low) / self.step
        return ((place - place.round()).abs() < 1e-3) & (place.round() >= 0) & (place.round() < self.levels)


class ModelDistribution(Distribution):
    """A model's distribution; all randomness comes from torch's global generator, as of any distribution of torch.

    Attributes:
        model: The model.
        likelihood: What `log_prob` returns: `exact`, `lower_bound`, `estimate`, `unnormalized`, or None.
        normalized: Whether `log_prob` is the logarithm of a normalised density (or probability): only an exact one is.

    Arguments:
        model: A model in eval mode.
        accept: A kind of `log_prob` besides `exact` that the caller can do with, such as `lower_bound`.
        options: Of its sampling.
    """

    arg_constraints: dict[str, constraints.Constraint] = {}

    def __init__(self, model: Model, accept: str | None = None, options: dict[str, Any] | None = None):
        model.sampling(options)  # a wrong option fails here
        self.model, self.options, self.accept = model, options or {}, accept
        self.likelihood = str(model.likelihood) if model.can("density") else None
        if accept is not None and accept not in {str(kind) for kind in Likelihood}:
            raise UsageError(f"there is no likelihood {accept}", f"say {', '.join(str(kind) for kind in Likelihood)}")
        self.normalized = self.likelihood == str(Likelihood.EXACT)
        self.has_rsample = model.can("pushforward") and not self.options
        super().__init__(Size(), Size(model.event_shape), validate_args=False)

    def __repr__(self) -> str:
        name = self.model.entry.name if self.model.entry else type(self.model).__name__
        return f"ModelDistribution({name}, event_shape={list(self.event_shape)}, likelihood={self.likelihood})"

    @property
    def support(self) -> constraints.Constraint:
        """Where the density lives: the levels of the data where it is their probability, else all numbers."""

        limits, levels = self.model.data_range, self.model.data_levels
        if self.model.entry is not None:
            limits, levels = self.model.entry.data.range, self.model.entry.data.levels
        kind = constraints.real
        if self.likelihood is not None and self.model.base_measure == "counting" and limits and levels:
            kind = Levels(*limits, levels)
        return constraints.independent(kind, len(self.event_shape))

    def sample(self, sample_shape: Any = ()) -> Tensor:
        """Returns samples `(*sample_shape, *event_shape)`, as the density has them: not cut to the range of the data.

        Raises:
            CapabilityError: If the model can't be sampled.
        """

        if not self.model.can("generator"):
            raise CapabilityError(f"{type(self.model).__name__} can't be sampled", "use its log_prob only")
        shape = Size(sample_shape)
        with torch.no_grad(), undisturbed(self.model):
            x = cast(Generator, self.model).sample(self._noise(shape.numel()), **self.options)
        return x.reshape(shape + self.event_shape)

    def rsample(self, sample_shape: Any = ()) -> Tensor:
        """Returns samples that are differentiable in the model's parameters, where it is a map of noise.

        Raises:
            NotImplementedError: If it is not, or options of sampling were given.
        """

        if not self.has_rsample:
            raise NotImplementedError(f"samples of {type(self.model).__name__} are not differentiable here")
        shape, push = Size(sample_shape), cast(Pushforward, self.model)
        x = push.push(self._noise(shape.numel()).named(push.noise_shapes))
        return x.reshape(shape + self.event_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Returns the log-density of `(*batch, *event_shape)`, `(*batch,)`, in nats.

        Raises:
            CapabilityError: If the model has no density, or one that is not exact and was not accepted.
            ValueError: If the shape is wrong.
        """

        if self.likelihood is None:
            raise CapabilityError(f"{type(self.model).__name__} has no density", "it can only be sampled")
        if not self.normalized and self.likelihood != self.accept:
            raise CapabilityError(
                f"log_prob of {type(self.model).__name__} is no normalised density: it is {self.likelihood}",
                f'say as_distribution(accept="{self.likelihood}") if that will do',
            )
        batch = value.shape[: value.ndim - len(self.event_shape)]
        if value.shape[len(batch) :] != self.event_shape:
            wanted = ", ".join(map(str, self.event_shape))
            raise ValueError(f"expected values of shape (*, {wanted}), not {tuple(value.shape)}")
        with undisturbed(self.model):
            found = cast(Density, self.model).log_prob(value.reshape(-1, *self.event_shape))
        return found.reshape(batch)

    def expand(self, batch_shape: Any, _instance: Any = None) -> ModelDistribution:
        """Returns itself for an empty batch shape; a model is one distribution.

        Raises:
            NotImplementedError: For another shape.
        """

        if Size(batch_shape) != Size():
            raise NotImplementedError("a model is one distribution, not a batch of them")
        return self

    def _noise(self, n: int) -> IndexedNoise:
        seed = int(torch.randint(2**62, ()))
        return IndexedNoise.of(self.model, seed, n)


def as_distribution(model: Model, accept: str | None = None, **options: Any) -> ModelDistribution:
    """Returns a model as a distribution of torch; see :class:`ModelDistribution`.

    Example:
        >>> torch.manual_seed(0)  # doctest: +ELLIPSIS
        <torch...>
        >>> d = as_distribution(load("realnvp-moons"))
        >>> x = d.sample((3, 2))
        >>> x.shape, d.log_prob(x).shape, d.normalized
        (torch.Size([3, 2, 2]), torch.Size([3, 2]), True)
    """

    return ModelDistribution(model, accept, options)
