r"""Bridges between data and a prior as two Markov chains, one for each direction.

The reference is Brownian motion over t in [0, 1] with variance :math:`\sigma^2`, in steps :math:`\gamma_0, \ldots,
\gamma_{N-1}` that add up to 1. With drifts f and b, networks of both directions,

.. math:: X_{k+1} = X_k + \gamma_k f_k(X_k) + \sigma \sqrt{\gamma_k}\, Z_k, \qquad
          X_k = X_{k+1} + \gamma_k b_{k+1}(X_{k+1}) + \sigma \sqrt{\gamma_k}\, Z_k,

from the data at k = 0 to the prior at k = N and back. A chain reversed has other variances than
:math:`\sigma^2 \gamma_k`, the more so the longer the steps, so each direction has a factor for each of its steps.

The Schroedinger bridge is the pair of chains that is nearest to the reference, in relative entropy, of all that join
the data and the prior: entropic optimal transport with the cost :math:`|x - y|^2` and the regularisation
:math:`2 \sigma^2`.

References:
    Diffusion Schroedinger Bridge with Applications to Score-Based Generative Modeling (De Bortoli et al., 2021),
    https://arxiv.org/abs/2106.01357
    Introduction to generative modeling (De Bortoli, 2022), courses 4 and 5
"""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor, nn

from dgmcore import Config, Model, Options
from dgmcore.config import Shape
from dgmcore.errors import UsageError
from dgmcore.noise import Noise

from ..networks import MLP, UNet, build_network, evaluate, last_layer, with_network
from ..odes import solve

__all__ = ["Bridge", "Direction", "drawn"]

Direction = Literal["to-data", "to-prior"]
Positive = Annotated[float, msgspec.Meta(gt=0, le=1e3)]


class Bridge(Model):
    """Base of bridges: two networks, and the chains and the flow that they make.

    A subclass says what the prior is (:meth:`prior_points`) and how steps grow (:meth:`growth`).
    """

    class Config(Config):
        event_shape: Shape = (2,)
        network: MLP | UNet | None = None  # of each direction; None: a perceptron for points, a small U-Net for images
        steps: Annotated[int, msgspec.Meta(ge=1, le=200)] = 10
        sigma: Positive = 1.0  # of the reference, from one end to the other
        ratio: Annotated[float, msgspec.Meta(ge=1, le=1e6)] = 100.0  # of the longest step to the shortest
        #: Of the noise of a step: the reference's, or what the reversed chain is found to have.
        variances: Literal["reference", "fitted"] = "fitted"

    class Sampling(Options):
        #: Where the chain goes; `round-trip` goes from data to the prior and back.
        direction: Literal["to-data", "to-prior", "round-trip"] = "to-data"
        #: `chain` is the bridge itself; `flow` its probability flow, which has the same marginals and no noise.
        sampler: Literal["chain", "flow"] = "chain"

    phases = {
        "ipf": "dgm_diffusion.schroedinger.phases:ProportionalFitting",
        "match": "dgm_diffusion.schroedinger.matching:BridgeMatching",
    }
    example = {"network": {"kind": "mlp", "width": 16, "depth": 1}, "steps": 4}
    dtypes = (torch.float32, torch.float64)  # in half precision the roundings of a chain add up

    gammas: Tensor
    factors: Tensor

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.config = with_network(self.config)
        c = self.config
        self.event_shape = tuple(c.event_shape)
        self.backward = build_network(c.network, self.event_shape)
        self.onward = build_network(c.network, self.event_shape)
        for network in (self.backward, self.onward):
            for parameter in last_layer(network).parameters():
                nn.init.zeros_(parameter)  # a drift of zero: the reference itself
        sizes = self.growth(torch.linspace(0, 1, c.steps, dtype=torch.float64))
        self.register_buffer("gammas", (sizes / sizes.sum()).float(), persistent=False)
        self.register_buffer("factors", torch.ones(2, c.steps))  # of the variances, to the data and to the prior

    # --- what a subclass says ------------------------------------------------------------------

    def growth(self, u: Tensor) -> Tensor:
        """Returns the relative sizes of the steps at places `u` from 0 at the data to 1 at the prior."""
        raise NotImplementedError

    def prior_points(self, noise: Noise, split: str) -> Tensor:
        """Returns `noise.n` points of the prior, `(n, *event_shape)`; `split` is `train` or `test`."""
        raise NotImplementedError

    # --- the two chains ------------------------------------------------------------------------

    def drift(self, direction: Direction, x: Tensor, k: Tensor) -> Tensor:
        r"""Returns the drift of a direction at `x`, the state number `k`, `(n, *event_shape)`.

        The network is scaled by :math:`\sigma` over the root of the time that is left, as a bridge's drift is.

        Arguments:
            direction: `to-prior`: f, for k from 0 to N - 1; `to-data`: b, for k from 1 to N.
            x: Points, `(n, *event_shape)`.
            k: The numbers of their states, `(n,)`, or one for all, `()`.
        """

        network = self.onward if direction == "to-prior" else self.backward
        times = k.to(x.dtype) * (1000.0 / self.config.steps)
        shape = (-1, *[1] * (x.ndim - 1))
        out = evaluate(network, x / self.spread[k].view(shape), times)
        return out * self.scale(direction, k).view(shape)

    @property
    def spread(self) -> Tensor:
        r"""What networks divide states by, :math:`\sqrt{1 + \sigma^2 t_k}`, `(N + 1,)`."""

        times = torch.cat([self.gammas.new_zeros(1), self.gammas.cumsum(0)])
        return (1 + self.config.sigma**2 * times).sqrt()

    def scale(self, direction: Direction, k: Tensor) -> Tensor:
        """Returns the size of a drift at the states number `k`, `(n,)` or `()`, of the same shape."""

        return self.config.sigma / self.left(direction)[k].sqrt()

    def left(self, direction: Direction) -> Tensor:
        """Returns the time that is left to the end from each state, `(N + 1,)`; at the end itself that of one step."""

        gammas = self.gammas if direction == "to-data" else self.gammas.flip(0)
        left = torch.cat([gammas[:1], gammas.cumsum(0)])
        return left if direction == "to-data" else left.flip(0)

    def route(self, direction: Direction) -> list[tuple[int, int]]:
        """Returns the pairs of states that a direction goes through."""

        states = range(self.config.steps + 1)
        return list(itertools.pairwise(states if direction == "to-prior" else reversed(states)))

    def chain(self, direction: Direction, x: Tensor, noise: Noise, *, reference: bool = False) -> Iterator[Tensor]:
        """Yields the states of a chain that starts in `x`, which is the first; all randomness is of `noise`.

        Arguments:
            direction: Where it goes.
            x: Its first state, `(n, *event_shape)`.
            noise: All its randomness.
            reference: Whether it is the reference's chain, without drift.
        """

        yield x
        for here, there in self.route(direction):
            k = min(here, there)
            variance = self.gammas[k]
            if not reference:
                x = x + self.gammas[k] * self.drift(direction, x, torch.tensor(here, device=x.device))
                variance = variance * self.factors[int(direction == "to-prior"), k]
            x = x + self.config.sigma * variance.sqrt() * noise.normal(*self.event_shape)
            yield x

    # --- the probability flow ------------------------------------------------------------------

    def velocity(self, x: Tensor, k: int) -> Tensor:
        r"""Returns the probability flow's velocity between the states k and k + 1, :math:`(f_k - b_{k+1}) / 2`."""

        here, there = (torch.tensor(i, device=x.device) for i in (k, k + 1))
        return 0.5 * (self.drift("to-prior", x, here) - self.drift("to-data", x, there))

    def flow(self, direction: Direction, x: Tensor) -> Iterator[Tensor]:
        """Yields the states of the probability flow: in each step the velocity is constant in time."""

        yield x
        for here, there in self.route(direction):
            k = min(here, there)
            ends = torch.stack([torch.zeros_like(self.gammas[k]), self.gammas[k]]).to(x)
            times = ends if there > here else ends.flip(0)
            x = deque(solve(lambda x, t, k=k: self.velocity(x, k), x, times), maxlen=1).pop()
            yield x

    # --- drawing -------------------------------------------------------------------------------

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        return deque(self.trajectory(noise, **options), maxlen=1).pop()

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        o = self.sampling(options)
        if o.direction == "to-data":
            x = self.prior_points(noise.child("start"), "test")
        else:
            x = self.data_points(noise.child("start"))
        ways: tuple[Direction, ...] = ("to-prior", "to-data") if o.direction == "round-trip" else (o.direction,)
        for number, way in enumerate(ways):
            for state in self.transport(x, noise.child(f"way {number}"), way, o.sampler):
                x = state
                yield x

    def transport(self, x: Tensor, noise: Noise, direction: Direction, sampler: str = "chain") -> Iterator[Tensor]:
        """Yields the states of given points on their way to the other end, the first of which are the points."""

        return self.flow(direction, x) if sampler == "flow" else self.chain(direction, x, noise)

    def data_points(self, noise: Noise) -> Tensor:
        """Returns `noise.n` test data of the entry's data set, drawn with replacement, `(n, *event_shape)`."""

        if self.entry is None:
            raise UsageError(
                "this bridge has no entry, so its data are unknown", "load it by name, or give points to `transport`"
            )
        from dgmcore.data import open_for

        return drawn(open_for(self.entry, f"{self.entry.data.dataset}:test"), noise)


def drawn(data: Any, noise: Noise) -> Tensor:
    """Returns `noise.n` data of a data set, drawn with replacement, on the noise's device."""

    index = noise.integers(len(data), name="index").cpu().numpy()
    return data.take(index).to(noise.device, noise.dtype)
