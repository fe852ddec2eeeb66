"""Stand-ins, while a graph is traced, for operations that ONNX has no counterpart of."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

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

    with _Inverses() as seen, torch.no_grad():
        module(*inputs)
    with _StandIns([x.clone() for x in seen.found]):
        yield


class _Inverses(TorchFunctionMode):
    """Keeps what `torch.linalg.inv` returns, in order."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[Tensor] = []

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = self.through(func, args, kwargs or {})
        if func is torch.linalg.inv:
            self.found.append(result)
        return result

    def through(self, func: Any, args: Any, kwargs: Any) -> Any:
        """Calls a function; what a solver calls is seen too."""
        if _is_odeint(func):
            with self:
                return func.__wrapped__(*args, **kwargs)
        return func(*args, **kwargs)


class _StandIns(TorchFunctionMode):
    """Calls stand-ins in the place of their originals.

    What torch does not know, torchdiffeq's `odeint`, is replaced where it was wrapped by
    `torch.overrides.wrap_torch_function`.
    """

    def __init__(self, inverses: list[Tensor]) -> None:
        super().__init__()
        known = iter(inverses)
        self.instead: dict[Any, Callable[..., Any]] = {
            torch.linalg.inv: lambda A: next(known),
            torch.linalg.solve_triangular: _solve_triangular,
            F.scaled_dot_product_attention: _attention,
        }

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if _is_odeint(func):
            with self:
                return _odeint(*args, **kwargs or {})
        return self.instead.get(func, func)(*args, **kwargs or {})


def _is_odeint(func: Any) -> bool:
    original = getattr(func, "__wrapped__", None)
    return original is not None and original is getattr(sys.modules.get("torchdiffeq"), "odeint", None)


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


def _attention(q: Tensor, k: Tensor, v: Tensor, *args: Any, **kwargs: Any) -> Tensor:
    """Attention of one head, which has no axis for it, gets that axis: ONNX wants it."""

    if q.ndim == 3 and not args and not kwargs:
        return F.scaled_dot_product_attention(q[:, None], k[:, None], v[:, None])[:, 0]
    return F.scaled_dot_product_attention(q, k, v, *args, **kwargs)


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
