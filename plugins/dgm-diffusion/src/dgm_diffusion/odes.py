r"""Flows of ordinary differential equations, and the density that they carry.

A field is a velocity :math:`v(x, t)`, a function of points `(n, *event_shape)` and one time `()`.

References:
    Neural Ordinary Differential Equations (Chen et al., 2018), section 4
    FFJORD: Free-form Continuous Dynamics for Scalable Reversible Generative Models (Grathwohl et al., 2019)
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from functools import cache
from typing import Annotated, Any, Literal

import msgspec
import torch
from torch import Tensor
from torch.overrides import wrap_torch_function

from dgmcore.compose import gradients, leaf
from dgmcore.noise import Noise

__all__ = [
    "Field",
    "Probes",
    "Solver",
    "Steps",
    "Tolerance",
    "divergence",
    "log_density",
    "log_normal",
    "sign_probes",
    "solve",
]

Field = Callable[[Tensor, Tensor], Tensor]
Solver = Literal["euler", "midpoint", "heun", "rk4", "dopri5"]
Steps = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
#: Of an adaptive solver, relative and absolute.
Tolerance = Annotated[float, msgspec.Meta(ge=1e-12, le=0.1)]
#: Hutchinson's vectors a datum; 0: the exact trace, at d gradients a step.
Probes = Annotated[int, msgspec.Meta(ge=0, le=1000)]

#: The names that torchdiffeq gives them.
_METHODS = {"heun": "heun2"}


@cache
def _odeint() -> Callable[..., Any]:
    """Returns torchdiffeq's solver; a mode of torch functions sees its calls, and may stand in: `dgm export` does."""

    from torchdiffeq import odeint

    return wrap_torch_function(lambda field, state, times, **_: (times,))(odeint)


def solve(field: Field, x: Tensor, times: Tensor, solver: Solver = "rk4", tolerance: float = 1e-6) -> Iterator[Tensor]:
    r"""Yields the states of :math:`x' = v(x, t)` at all `times`, the first of which is `x`, each `(n, *event_shape)`.

    Arguments:
        field: The velocity.
        x: The state at the first time.
        times: Increasing or decreasing times, `(k,)`.
        solver: One step from time to time; `dopri5` (Dormand-Prince) takes as many as the tolerance asks for. Its
            steps are those of the whole batch, so a state depends on the others by about the tolerance.
        tolerance: The relative and absolute tolerance of `dopri5`.
    """

    odeint = _odeint()

    def turned(t: Tensor, y: Tensor) -> Tensor:
        return field(y, t)

    yield x
    if solver == "dopri5":
        yield from odeint(turned, x, times, method=solver, rtol=tolerance, atol=tolerance)[1:]
        return
    for pair in itertools.pairwise(times):
        x = odeint(turned, x, torch.stack(pair), method=_METHODS.get(solver, solver))[-1]
        yield x


def log_density(
    field: Field,
    x: Tensor,
    times: Tensor,
    base: Callable[[Tensor], Tensor],
    probes: list[Tensor],
    solver: Solver = "rk4",
    tolerance: float = 1e-6,
) -> Tensor:
    r"""Returns :math:`\log p(x) = \log p_1(x_1) + \int \nabla \cdot v(x_t, t)\,dt` along the flow, nats, `(n,)`.

    Arguments:
        field: The velocity.
        x: Points at the first time, `(n, *event_shape)`.
        times: From the data's time to the base's, `(k,)`.
        base: The log-density at the last time: maps `(n, *event_shape)` to `(n,)`.
        probes: Of the trace, see :func:`divergence`.
        solver: As for :func:`solve`.
        tolerance: As for :func:`solve`.
    """

    odeint = _odeint()
    higher = torch.is_grad_enabled()

    def slope(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        with gradients():
            y = state[0] if state[0].requires_grad else leaf(state[0])
            v = field(y, t.clone() if t.is_inference() else t)
            trace = divergence(v, y, probes, higher)
        return (v, trace) if higher else (v.detach(), trace.detach())

    state = (x, torch.zeros(len(x), dtype=x.dtype, device=x.device))
    if solver == "dopri5":
        ends = times[[0, -1]]
        state = tuple(s[-1] for s in odeint(slope, state, ends, method=solver, rtol=tolerance, atol=tolerance))
    else:
        for pair in itertools.pairwise(times):
            state = tuple(s[-1] for s in odeint(slope, state, torch.stack(pair), method=_METHODS.get(solver, solver)))
    return base(state[0]) + state[1]


def divergence(v: Tensor, y: Tensor, probes: list[Tensor], higher: bool = False) -> Tensor:
    r"""Returns :math:`\nabla \cdot v` at `y`, `(n,)`.

    Arguments:
        v: The velocity, a function of `y` by autograd, `(n, *event_shape)`.
        y: The points.
        probes: Vectors :math:`e` of Hutchinson's estimator :math:`e^T J e`, each of `y`'s shape; none: the exact
            trace, a pass backwards for each dimension.
        higher: Whether the result is to be differentiated again.
    """

    if probes:
        terms = [
            (torch.autograd.grad(v, y, e, create_graph=higher, retain_graph=True)[0] * e).flatten(1).sum(1)
            for e in probes
        ]
        return torch.stack(terms).mean(0)
    flat = v.flatten(1)
    rows = [
        torch.autograd.grad(flat[:, i].sum(), y, create_graph=higher, retain_graph=True)[0].flatten(1)[:, i]
        for i in range(flat.shape[1])
    ]
    return torch.stack(rows).sum(0)


def sign_probes(noise: Noise, event_shape: tuple[int, ...], k: int) -> list[Tensor]:
    """Returns `k` vectors of random signs for Hutchinson's estimator, each `(n, *event_shape)`."""

    return [noise.normal(*event_shape).sign() for _ in range(k)]


def log_normal(z: Tensor) -> Tensor:
    """Returns the log-density of standard normal noise, `(n,)`."""

    flat = z.flatten(1)
    return -0.5 * flat.square().sum(1) - 0.5 * flat.shape[1] * math.log(2 * math.pi)
