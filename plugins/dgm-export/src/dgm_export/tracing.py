"""Stand-ins, while a graph is traced, for operations that ONNX has no counterpart of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["stand_ins"]

#: Steps of explicit Runge-Kutta methods by torchdiffeq's names: for each slope its time and the slopes before it, then
#: the weights of all. Its `rk4` is the rule of three eighths.
_STEPS: dict[str, tuple[list[tuple[float, list[float]]], list[float]]] = {
    "euler": ([(0, [])], [1]),
    "midpoint": ([(0, []), (1 / 2, [1 / 2])], [0, 1]),
    "heun2": ([(0, []), (1, [1])], [1 / 2, 1 / 2]),
    "rk4": ([(0, []), (1 / 3, [1 / 3]), (2 / 3, [-1 / 3, 1]), (1, [1, -1, 1])], [1 / 8, 3 / 8, 3 / 8, 1 / 8]),
}


@contextmanager
def stand_ins(module: nn.Module, inputs: tuple[Tensor, ...]) -> Iterator[None]:
    """Within it a module can be traced that solves triangular systems, integrates by steps, inverts its own weights.

    Arguments:
        module: What will be traced. It runs once before, to see the inverses of its weights, which become constants.
        inputs: Its inputs.
    """

    found = _inverses(module, inputs)
    known = iter(found)
    with ExitStack() as stack:
        for place, name, stand_in in (
            (torch.linalg, "inv", lambda A: next(known)),
            (torch.linalg, "solve_triangular", _solve_triangular),
            (F, "scaled_dot_product_attention", _attention(F.scaled_dot_product_attention)),
        ):
            stack.enter_context(patch.object(place, name, stand_in))
        try:
            import torchdiffeq
        except ImportError:
            pass
        else:
            stack.enter_context(patch.object(torchdiffeq, "odeint", _odeint))
        yield


def _inverses(module: nn.Module, inputs: tuple[Tensor, ...]) -> list[Tensor]:
    """Returns what `torch.linalg.inv` returns in a call of the module, in order."""

    found: list[Tensor] = []
    inv = torch.linalg.inv

    def seen(A: Tensor) -> Tensor:
        found.append(inv(A))
        return found[-1]

    with patch.object(torch.linalg, "inv", seen), torch.no_grad():
        module(*inputs)
    return [x.clone() for x in found]


def _solve_triangular(
    A: Tensor,
    B: Tensor,
    *,
    upper: bool,
    left: bool = True,
    unitriangular: bool = False,
) -> Tensor:
    """Solves by the inverse: of I + N, where some power of N is zero, it is (I - N)(I + N^2)(I + N^4)..."""

    A, n = A.double(), A.shape[-1]
    identity = torch.eye(n, dtype=A.dtype)
    diagonal = torch.ones(n, dtype=A.dtype) if unitriangular else (A * identity).sum(-1)
    power = -(A.triu(1) if upper else A.tril(-1)) / diagonal[..., None]
    inverse, size = identity + power, 2
    while size < n:
        power = power @ power
        inverse, size = inverse + inverse @ power, 2 * size
    inverse = inverse / diagonal[..., None, :]
    return (inverse @ B.double() if left else B.double() @ inverse).to(B.dtype)


def _attention(attention: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Attention of one head, which has no axis for it, gets that axis: ONNX wants it."""

    def with_heads(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        if q.ndim == 3 and not args and not kwargs:
            return attention(q[:, None], k[:, None], v[:, None])[:, 0]
        return attention(q, k, v, *args, **kwargs)

    return with_heads


def _odeint(field: Callable[[Tensor, Any], Any], state: Any, times: Tensor, *, method: str, **_: Any) -> Tensor:
    """Integrates a tensor by one step between times, as torchdiffeq does, without looking at the times' values."""

    if method not in _STEPS or not isinstance(state, Tensor):
        raise NotImplementedError(f"the solver {method} chooses its steps by the data, which a graph can't")
    nodes, weights = _STEPS[method]
    states = [state]
    for k in range(times.shape[0] - 1):
        t, dt, x = times[k], times[k + 1] - times[k], states[-1]
        slopes: list[Tensor] = []
        for place, before in nodes:
            at = x + dt * _sum(before, slopes) if slopes else x
            slopes.append(field(t + place * dt, at))
        states.append(x + dt * _sum(weights, slopes))
    return torch.stack(states)


def _sum(weights: list[float], slopes: list[Tensor]) -> Tensor:
    parts = [w * s for w, s in zip(weights, slopes, strict=True) if w]
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
