r"""FFJORD: a continuous flow along a free vector field."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torchdiffeq
from torch import Tensor, nn
from torch.overrides import wrap_torch_function

from dgmcore.config import Config, Count, Options, Size
from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise, Noise

from .flow import Flow, blockwise, log_normal

__all__ = ["FFJORD", "signs"]

#: A mode of torch functions sees the call, and may stand in for it: `dgm export` does.
_odeint = wrap_torch_function(lambda field, state, times, **_: (times,))(torchdiffeq.odeint)
Positive = Annotated[int, msgspec.Meta(ge=1)]


class Field(nn.Module):
    r"""A vector field :math:`f(t, x)`: a network of :math:`(x, t)` with tanh, and its Jacobian's products."""

    def __init__(self, dim: int, hidden: tuple[int, ...]):
        super().__init__()
        self.dim = dim
        sizes = (dim + 1, *hidden, dim)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(sizes))

    def forward(self, t: Tensor, x: Tensor) -> Tensor:
        """Returns the velocity, `(n, d)`."""

        h = torch.cat([x, t.expand(x.shape[0], 1)], 1)
        for layer in self.layers[:-1]:
            h = torch.tanh(layer(h))
        return self.layers[-1](h)

    def jvp(self, t: Tensor, x: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        r"""Returns the velocity, `(n, d)`, and :math:`J v_k`, `(k, n, d)`, for tangents `v` `(k, n, d)`.

        Tangents go forward with the activations, so no graph of the network is needed for a trace.
        """

        h = torch.cat([x, t.expand(x.shape[0], 1)], 1)
        first = self.layers[0]
        v = v @ first.weight[:, : self.dim].T
        h = torch.tanh(first(h))
        for layer in self.layers[1:]:
            v = (v * (1 - h.square())) @ layer.weight.T
            h = layer(h)
            if layer is not self.layers[-1]:
                h = torch.tanh(h)
        return h, v


class FFJORD(Flow):
    r"""A continuous normalizing flow :math:`x' = f(t, x)`, data at t = 0, noise at t = 1 [1].

    The log-determinant is :math:`\int_0^1 \mathrm{tr}\, \partial f / \partial x\, dt`: in training by Hutchinson's
    estimator :math:`e^T J e` with one sign vector a datum [1, eq. 7], in evaluation exactly, from `d`
    products. torchdiffeq integrates in `steps` equal Runge-Kutta steps of order 4: a datum's result depends on no
    other's, as it would with steps adapted to the batch. The steps make the density an ESTIMATE.

    Arguments:
        config: `dim` and the widths of the field's `hidden` layers.

    References:
        [1] FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models
        (Grathwohl et al., 2019), https://arxiv.org/abs/1810.01367
    """

    class Config(Config):
        dim: Size = 2
        hidden: Annotated[tuple[Size, ...], msgspec.Meta(min_length=1, max_length=1_024)] = (64, 64)

    class Sampling(Options):
        #: Runge-Kutta steps from noise to data; also the default of encoding and scoring.
        steps: Count = 16

    class Scoring(Options):
        #: Runge-Kutta steps from data to noise; None: as many as sampling takes.
        steps: Count | None = None
        #: `hutchinson` draws one sign vector a datum from the noise: unbiased, and cheap in many dimensions.
        trace: Literal["exact", "hutchinson"] = "exact"

    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    phases = {"ffjord": "dgm_flows.training:FFJORDPhase"}
    example: ClassVar[Mapping[str, Any]] = {"hidden": [8, 8]}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = (self.config.dim,)
        self.field = Field(self.config.dim, tuple(self.config.hidden))

    @property
    def steps(self) -> int:
        """The entry's own number of steps, for what takes no options."""

        return self.sampling().steps

    def integrate(self, x: Tensor, tangents: Tensor, steps: int) -> dict[str, Tensor]:
        r"""Carries data to noise.

        Arguments:
            x: Data, `(n, d)`.
            tangents: The vectors :math:`e_k` of the trace :math:`\sum_k e_k^T J e_k`, `(k, n, d)` or `(k, 1, d)`.
            steps: The number of Runge-Kutta steps.

        Returns:
            `z`, `(n, d)`, and `(n,)` each: the log-determinant `ladj`, `kinetic` :math:`\int |f|^2` and `jacobian`
            :math:`\int \sum_k |J e_k|^2`, an estimate of the squared Frobenius norm.
        """

        d = self.config.dim
        tangents = tangents.expand(-1, x.shape[0], -1)

        def slope(t: Tensor, y: Tensor) -> Tensor:
            velocity, moved = self.field.jvp(t, y[:, :d], tangents)
            trace = (tangents * moved).sum((0, 2))
            squares = velocity.square().sum(1), moved.square().sum((0, 2))
            return torch.cat([velocity, torch.stack([trace, *squares], 1)], 1)

        y = _solve(slope, torch.cat([x, x.new_zeros(x.shape[0], 3)], 1), 0.0, 1.0, steps)[-1]
        return {"z": y[:, :d], "ladj": y[:, d], "kinetic": y[:, d + 1], "jacobian": y[:, d + 2]}

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        o = self.scoring(options)
        steps = o.steps or self.steps
        if o.trace == "hutchinson":
            noise = noise or IndexedNoise.like(x, version=self.noise_version)
            out = self.integrate(x, signs(noise.normal(*self.event_shape)), steps)
            return log_normal(out["z"]) + out["ladj"]

        def exact(x: Tensor) -> tuple[Tensor]:
            out = self.integrate(x, self._basis(x), steps)
            return (log_normal(out["z"]) + out["ladj"],)

        return blockwise(exact, x)[0]

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.integrate(x, self._basis(x), self.steps)
        return out["z"], out["ladj"]

    def _basis(self, x: Tensor) -> Tensor:
        return torch.eye(self.config.dim, dtype=x.dtype, device=x.device)[:, None]

    def encode(self, x: Tensor) -> Tensor:
        return _solve(self.field, x, 0.0, 1.0, self.steps)[-1]

    def decode(self, z: Tensor) -> Tensor:
        return _solve(self.field, z, 1.0, 0.0, self.steps)[-1]

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        z = noise.named(self.noise_shapes)["z"]
        return _solve(self.field, z, 1.0, 0.0, self.sampling(options).steps)[-1]

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the noise and the state after each step."""

        z = noise.named(self.noise_shapes)["z"]
        yield from _solve(self.field, z, 1.0, 0.0, self.sampling(options).steps)


def signs(normal: Tensor) -> Tensor:
    """Turns normal noise into signs, `(1, n, d)`: of all Hutchinson vectors those of least variance."""

    return torch.where(normal < 0, -1.0, 1.0).to(normal.dtype)[None]


def _solve(slope: Callable[[Tensor, Tensor], Tensor], y: Tensor, start: float, end: float, steps: int) -> Tensor:
    """Returns the states at `steps + 1` equidistant times, `(steps + 1, n, ...)`."""

    times = torch.linspace(start, end, steps + 1, dtype=y.dtype, device=y.device)
    return _odeint(slope, y, times, method="rk4")
