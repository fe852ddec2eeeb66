r"""The questions that the core asks of a model.

Protocols, so a model implements as many as it honestly can and its capabilities are derived
from its class (:func:`capabilities`), never declared a second time. In every signature `n` is the
batch, `event_shape` one datum's shape, and tensors are `float32` unless the model was loaded
with another dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor

    from .noise import Noise


class Likelihood(StrEnum):
    """What a value of :meth:`Density.log_prob` is."""

    EXACT = "exact"
    LOWER_BOUND = "lower_bound"
    ESTIMATE = "estimate"
    UNNORMALIZED = "unnormalized"


@runtime_checkable
class Generator(Protocol):
    r"""Draws :math:`x \sim p_\theta`."""

    event_shape: tuple[int, ...]

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Returns `noise.n` samples, shape `(n, *event_shape)`, in the range of the model's data.

        All randomness comes from `noise`; `options` override the model's sampling options.
        """


@runtime_checkable
class Pushforward(Protocol):
    r"""A generator :math:`x = g_\theta(\epsilon)` with :math:`\epsilon \sim N(0, I)`.

    `push` is differentiable, so Langevin dynamics can run in the space of :math:`\epsilon`.
    With the class's default options `sample(noise)` equals `push(noise.named(noise_shapes))`.
    """

    event_shape: tuple[int, ...]
    noise_shapes: Mapping[str, Any]  # {name: shape}, nested mappings allowed

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{name: (n, *shape)}` to `(n, *event_shape)`."""


@runtime_checkable
class Trajectory(Protocol):
    """A sampler that goes through intermediate states."""

    event_shape: tuple[int, ...]

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields states `(n, *event_shape)`; the last is what `sample` returns for the same noise."""


@runtime_checkable
class Critic(Protocol):
    """Judges a point: minus an energy, a discriminator's logit, a Wasserstein potential."""

    def score(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to `(n,)`; higher is more like the data; differentiable in `x`."""


@runtime_checkable
class Density(Protocol):
    """Measures a point in nats."""

    likelihood: Likelihood

    def log_prob(self, x: Tensor, **options: Any) -> Tensor:
        """Maps `(n, *event_shape)` to `(n,)` nats, of the kind that `likelihood` says.

        A density that is a LOWER_BOUND or an ESTIMATE also takes `noise: Noise | None = None`
        (`noise.n == n`; None stands for seed 0), from which all its randomness comes.
        """


@runtime_checkable
class Autoregressive(Protocol):
    r"""An exact density that is a chain of conditionals, or an equal mixture of M chains in several orders.

    .. math:: p(x) = \frac1M \sum_{m=1}^M \prod_{t=1}^D p_m(x_{o_m(t)} \mid x_{o_m(1)}, \dots, x_{o_m(t-1)})
    """

    event_shape: tuple[int, ...]
    orders: Tensor  # int64 (M, D): the places of a flattened datum, as each chain comes to them

    def log_conditionals(self, x: Tensor, chain: int = 0) -> Tensor:
        """Maps `(n, *event_shape)` to `(n, D)` nats: of each value, in its own place, given those before it."""


@runtime_checkable
class Encoder(Protocol):
    """Latent codes."""

    def encode(self, x: Tensor) -> Any:
        """Returns the code of `x` (a stochastic encoder's mean): `(n, *code)`, or a nested dict of such."""

    def decode(self, z: Any) -> Tensor:
        """Returns `(n, *event_shape)`, the reconstruction from a code."""


@runtime_checkable
class Features(Protocol):
    """A feature extractor for metrics and perceptual losses."""

    def features(self, x: Tensor) -> Tensor:
        """Maps `(n, *event_shape)` to `(n, d)`."""


_PROTOCOLS = (Generator, Pushforward, Trajectory, Critic, Density, Autoregressive, Encoder, Features)
#: Each protocol by its name: "generator", "pushforward", ...
CAPABILITIES: dict[str, type] = {kind.__name__.lower(): kind for kind in _PROTOCOLS}

#: What a class must have for a capability: all that its protocol names, but the shape, which every model has.
_MEMBERS = {
    name: [m for m in (*vars(kind), *kind.__annotations__) if m[0] != "_" and m != "event_shape"]
    for name, kind in CAPABILITIES.items()
}


def capabilities(model: Any) -> list[str]:
    """Returns the names of the protocols that a model, or a model class, implements."""
    bases = (model if isinstance(model, type) else type(model)).__mro__
    has = {member for base in bases for member in (*vars(base), *vars(base).get("__annotations__", {}))}
    return [name for name, members in _MEMBERS.items() if has.issuperset(members)]


def capability_with(member: str) -> str | None:
    """Returns the name of the protocol that a member, such as `log_prob`, belongs to, if any."""
    return next((name for name, members in _MEMBERS.items() if member in members), None)
