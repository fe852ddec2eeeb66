r"""OT-Flow: a continuous flow along the gradient of a potential, with its exact trace."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Count, Options, Size
from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import Noise

from .flow import Flow, blockwise, log_normal

__all__ = ["OTFlow", "Potential"]

Positive = Annotated[int, msgspec.Meta(ge=1)]


class Potential(nn.Module):
    r"""The potential :math:`\Phi(s)` of :math:`s = (x, t) \in R^{d+1}` [1, eq. 11-13].

    .. math::
        \Phi(s) &= w^T N(s) + \tfrac12 s^T A^T A s + b^T s + c \\
        u_0 &= \sigma(K_0 s + b_0), \quad u_i = u_{i-1} + h \sigma(K_i u_{i-1} + b_i), \quad N(s) = u_{M}

    with :math:`\sigma(x) = \log(2 \cosh x)`, whose derivative is tanh, and :math:`h = 1 / M`.

    Arguments:
        dim: The dimension `d` of x.
        width: The width `m` of the network.
        layers: Its number of layers, M + 1.
    """

    def __init__(self, dim: int, width: int, layers: int):
        super().__init__()
        self.dim, self.h = dim, 1.0 / (layers - 1)
        self.A = nn.Parameter(nn.init.xavier_uniform_(torch.empty(min(10, dim + 1), dim + 1)))
        self.b = nn.Parameter(torch.zeros(dim + 1))
        # kept for the published count of weights; no gradient of the potential depends on it
        self.c = nn.Parameter(torch.zeros(1), requires_grad=False)
        self.w = nn.Parameter(torch.ones(width))
        self.opening = nn.Linear(dim + 1, width)
        self.residual = nn.ModuleList(nn.Linear(width, width) for _ in range(layers - 1))
        for layer in self.residual[1:]:
            layer.load_state_dict(self.residual[0].state_dict())

    def forward(self, s: Tensor) -> Tensor:
        """Returns the potential, `(n, d + 1)` to `(n,)`."""

        u = log_cosh(self.opening(s))
        for layer in self.residual:
            u = u + self.h * log_cosh(layer(u))
        return u @ self.w + 0.5 * (s @ self.A.T).square().sum(1) + s @ self.b + self.c

    def prepare(self, trace: bool) -> _Prepared:
        """Returns what one integration needs of the weights."""

        return _Prepared(self, trace)


class _Prepared:
    """A potential's gradient and trace, products of its weights formed once for all stages."""

    def __init__(self, potential: Potential, trace: bool):
        p, d = potential, potential.dim
        self.d, self.h, self.w = d, p.h, p.w
        self.Kx, self.kt, self.b0 = p.opening.weight[:, :d], p.opening.weight[:, d], p.opening.bias
        self.K, self.layers = p.opening.weight, [(layer.weight, layer.bias) for layer in p.residual]
        self.gram, self.b = p.A.T @ p.A, p.b
        if trace:
            self.squares = self.Kx.square().sum(1, keepdim=True)  # |(K_0 E)_j|^2
            self.constant = self.gram.diagonal()[:d].sum()

    def drift(self, x: Tensor, t: float) -> Tensor:
        r"""Returns :math:`\nabla_x \Phi(x, t)`, `(n, d)`."""

        d = self.d
        first, tanhs = self._forward(x, t)
        z = self._backward(tanhs)[0]
        # the bias first: each product is accumulated where its sum is due
        out = torch.addmm(self.gram[:d, d] * t + self.b[:d], x, self.gram[:d, :d])
        return torch.addmm(out, first * z, self.Kx)

    def all(self, x: Tensor, t: float) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns :math:`\nabla_x \Phi` `(n, d)`, :math:`\partial_t \Phi` `(n, 1)`, and the trace of the Hessian in x,
        :math:`\Delta_x \Phi`, `(n, 1)`."""

        d, h = self.d, self.h
        first, tanhs = self._forward(x, t)
        z = self._backward(tanhs)
        s = F.pad(x, (0, 1), value=t)
        gradient = torch.addmm(torch.addmm(self.b, s, self.gram), first * z[0], self.K)

        one = x.new_ones(())
        trace = torch.addmm(self.constant, torch.addcmul(one, first, first, value=-1) * z[0], self.squares)
        jacobian = first * self.Kx.T[:, None, :]  # (d, n, m): d u_0 / d x
        for i, ((K, _), th) in enumerate(zip(self.layers, tanhs, strict=True)):
            moved = jacobian @ K.T
            curvature = torch.addcmul(one, th, th, value=-1) * z[i + 1]
            trace = trace + h * (curvature * moved.square().sum(0)).sum(1, keepdim=True)
            if i + 1 < len(self.layers):
                jacobian = jacobian + h * th * moved
        return gradient[:, :d], gradient[:, d:], trace

    def _forward(self, x: Tensor, t: float) -> tuple[Tensor, list[Tensor]]:
        """Returns tanh of the affine outputs of the opening and of the other layers, `(n, m)` each."""

        u, first = _LogCosh.apply(torch.addmm(torch.add(self.b0, self.kt, alpha=t), x, self.Kx.T))
        tanhs = []
        for i, (K, b) in enumerate(self.layers):
            affine = torch.addmm(b, u, K.T)
            if i + 1 < len(self.layers):
                value, th = _LogCosh.apply(affine)
                u = torch.add(u, value, alpha=self.h)
            else:
                th = affine.tanh()
            tanhs.append(th)
        return first, tanhs

    def _backward(self, tanhs: list[Tensor]) -> list[Tensor]:
        """Returns the gradients of the network by u_0, u_1, ..., the last being w."""

        z = [self.w]
        for (K, _), th in zip(reversed(self.layers), reversed(tanhs), strict=True):
            z.insert(0, torch.addmm(z[0].expand_as(th), th * z[0], K, alpha=self.h))
        return z


class OTFlow(Flow):
    r"""A continuous normalizing flow :math:`x' = -\nabla_x \Phi(x, t) / a_0` [1], [2, section 3.3].

    Data are at t = 0, noise at t = 1, as in the authors' code and weights. Every integration is
    classical Runge-Kutta in `steps` equal steps, with the exact trace. The steps make both the inverse and
    the normalisation approximate, so the density is an ESTIMATE: the trace integral is not the
    log-determinant of the discrete map (with 4 steps the published weights' density integrates to 1.004).

    Arguments:
        config: `dim` (d), `width` (m), `layers` of the network and `transport` (:math:`a_0`).

    References:
        [1] OT-Flow: Fast and Accurate Continuous Normalizing Flows via Optimal Transport
        (Onken et al., 2021), https://arxiv.org/abs/2006.00104
        [2] An Introduction to Deep Generative Modeling (Ruthotto & Haber, 2021),
        https://arxiv.org/abs/2103.05180
    """

    class Config(Config):
        dim: Size = 2
        width: Size = 32
        layers: Annotated[int, msgspec.Meta(ge=2, le=1_024)] = 2
        transport: Annotated[float, msgspec.Meta(gt=0.0, le=1e6)] = 1.0

    class Sampling(Options):
        #: Runge-Kutta steps from noise to data; also the default of encoding and scoring.
        steps: Count = 8

    class Scoring(Options):
        #: Runge-Kutta steps from data to noise; None: as many as sampling takes.
        steps: Count | None = None

    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    phases = {"otflow": "dgm_flows.training:OTFlowPhase"}
    example: ClassVar[Mapping[str, Any]] = {"width": 8}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = (self.config.dim,)
        self.potential = Potential(self.config.dim, self.config.width, self.config.layers)

    def integrate(self, x: Tensor, steps: int) -> dict[str, Tensor]:
        r"""Carries data to noise with all that training needs.

        Returns:
            `z`, `(n, d)`; the log-determinant `ladj`, the transport cost `transport`
            :math:`\int |x'|^2 / 2` and the Hamilton-Jacobi-Bellman residual `hjb`
            :math:`\int |a_0 |x'|^2 / 2 - \partial_t \Phi|`, `(n,)` each.
        """

        a, d = self.config.transport, self.config.dim
        prepared = self.potential.prepare(trace=True)

        def slope(y: Tensor, t: float) -> Tensor:
            gradient, dt, trace = prepared.all(y[:, :d], t)
            speed = gradient.square().sum(1, keepdim=True) / (2 * a * a)
            return torch.cat([gradient / -a, trace / -a, speed, (a * speed - dt).abs()], 1)

        y = _runge_kutta(slope, F.pad(x, (0, 3)), 0.0, 1.0 / steps, steps)
        return {"z": y[:, :d], "ladj": y[:, d], "transport": y[:, d + 1], "hjb": y[:, d + 2]}

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the estimated log-density; no randomness is used."""

        steps = self.scoring(options).steps or self.steps

        def run(x: Tensor) -> tuple[Tensor]:
            z, ladj = self._with_trace(x, steps)
            return (log_normal(z) + ladj,)

        return blockwise(run, x)[0]

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return blockwise(lambda x: self._with_trace(x, self.steps), x)

    def _with_trace(self, x: Tensor, steps: int) -> tuple[Tensor, ...]:
        a, d, prepared = self.config.transport, self.config.dim, self.potential.prepare(trace=True)

        def slope(y: Tensor, t: float) -> Tensor:
            gradient, _, trace = prepared.all(y[:, :d], t)
            return torch.cat([gradient, trace], 1) / -a

        y = _runge_kutta(slope, F.pad(x, (0, 1)), 0.0, 1.0 / steps, steps)
        return y[:, :d], y[:, d]

    @property
    def steps(self) -> int:
        """The entry's own number of steps, for what takes no options."""

        return self.sampling().steps

    def encode(self, x: Tensor) -> Tensor:
        return blockwise(lambda x: (self._flow(x, 0.0, self.steps),), x)[0]

    def decode(self, z: Tensor) -> Tensor:
        return self._decode(z, self.steps)

    def _decode(self, z: Tensor, steps: int) -> Tensor:
        return blockwise(lambda z: (self._flow(z, 1.0, steps),), z)[0]

    def _flow(self, x: Tensor, start: float, steps: int) -> Tensor:
        """Integrates from `start` to the other end: only the gradient is needed."""

        for x in self._states(x, start, steps):  # noqa: B007, B020
            pass
        return x

    def _states(self, x: Tensor, start: float, steps: int) -> Iterator[Tensor]:
        a, prepared = self.config.transport, self.potential.prepare(trace=False)
        h = (1.0 - 2.0 * start) / steps
        yield x
        for i in range(steps):
            x = _runge_kutta(prepared.drift, x, start + i * h, h, 1, scale=-1 / a)
            yield x

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        steps = self.sampling(options).steps
        return self._decode(noise.named(self.noise_shapes)["z"], steps)

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the noise and the state after each step."""

        yield from self._states(noise.named(self.noise_shapes)["z"], 1.0, self.sampling(options).steps)


class _LogCosh(torch.autograd.Function):
    r"""Returns :math:`\log(2 \cosh x) = |x| - \log\frac{1 + |\tanh x|}{2}` and tanh, its derivative."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> tuple[Tensor, Tensor]:
        th = x.tanh()
        ctx.save_for_backward(th)
        return x.abs().sub_(th.abs().lerp_(x.new_ones(()), 0.5).log_()), th

    @staticmethod
    def backward(ctx: Any, by_value: Tensor, by_tanh: Tensor) -> Tensor:
        (th,) = ctx.saved_tensors
        return by_value * th + by_tanh * (1 - th.square())


def log_cosh(x: Tensor) -> Tensor:
    r"""Returns :math:`\log(2 \cosh x)`, the antiderivative of tanh."""

    return _LogCosh.apply(x)[0]


def _runge_kutta(slope: Any, y: Tensor, t: float, h: float, steps: int, scale: float = 1.0) -> Tensor:
    r"""Classical Runge-Kutta for :math:`y' = scale \cdot slope(y, t)`."""

    k = h * scale
    for i in range(steps):
        s = t + i * h
        k1 = slope(y, s)
        k2 = slope(torch.add(y, k1, alpha=k / 2), s + h / 2)
        k3 = slope(torch.add(y, k2, alpha=k / 2), s + h / 2)
        k4 = slope(torch.add(y, k3, alpha=k), s + h)
        y = torch.add(torch.add(y, k1 + k4, alpha=k / 6), k2 + k3, alpha=k / 3)
    return y
