r"""Short-run dynamics as a generator: gradient descent on an energy, which is a flow with a density."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torchdiffeq
from torch import Tensor
from torch.overrides import wrap_torch_function

from dgmcore import IndexedNoise, Likelihood, Model, Noise
from dgmcore.compose import gradients, leaf
from dgmcore.config import Config, Count, Options

__all__ = ["ODEFlow", "ascent", "tangents"]

Positive = Annotated[int, msgspec.Meta(ge=1)]
Time = Annotated[float, msgspec.Meta(gt=0.0, le=1e3)]
Tolerance = Annotated[float, msgspec.Meta(ge=1e-9, le=1.0)]  # below, a solver has no end
Solver = Literal["euler", "rk4", "dopri5"]

#: A mode of torch functions sees the call, and may stand in for it: `dgm export` does.
_odeint = wrap_torch_function(lambda field, state, times, **_: (times,))(torchdiffeq.odeint)
_ROWS = 2048  # of a block that is scored at once
_EXACT_UP_TO = 8  # dimensions in which the trace is exact unless asked otherwise


class ODEFlow(Model):
    r"""The generator that noise-free short-run dynamics are (thesis, chapter 5).

    .. math:: x'(t) = \nabla s_\theta(x(t)), \quad x(0) \sim N(0, \sigma_0^2 I), \quad t \in [0, T]

    with the score s = -E (eq. 5.5). The sample is x(T). The map is invertible, and its density is (eq. 5.7)

    .. math:: \log p(x(T)) = \log N(x(0); 0, \sigma_0^2 I) - \int_0^T \mathrm{tr}\, \nabla\nabla s_\theta(x(t)) \, dt,

    where x(0) is found by solving backwards. T belongs to the model, as the number of layers belongs to a network.

    Solvers: `steps` Euler steps, which are the noise-free Langevin steps of eq. 5.8 with :math:`\eta / 2 = T / steps`;
    as many Runge-Kutta steps of order 4 (`rk4`); Dormand-Prince with steps adapted to a tolerance (`dopri5`), as in
    the thesis. An adapted step is that of the whole batch, so with `dopri5` a sample depends, by as much as the
    tolerance, on its batch; fixed steps are the default for that reason.

    The score itself is no log-density of the samples: the dynamics are far from their equilibrium.

    Parts:
        energy: The critic :math:`s_\theta`.

    References:
        [1] Thesis (Xiao, 2022), sections 5.3 and 5.4
        [2] Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366
        [3] Learning Non-Convergent Non-Persistent Short-Run MCMC (Nijkamp et al., 2019),
            https://arxiv.org/abs/1904.09770
    """

    Parts = {"energy": ("critic",)}
    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    # in half precision a density neither fits its samples nor integrates to one
    dtypes = (torch.float32, torch.float64)
    phases = {
        "contrastive": "dgm_ebms.training:Contrastive",
        "likelihood": "dgm_ebms.training:FlowLikelihood",
    }
    example: ClassVar[Mapping[str, Any]] = {}
    example_parts = {"energy": {"architecture": "mlp-energy", "config": {"event_shape": [2], "hidden": [8]}}}

    class Config(Config):
        #: T, the time for which the dynamics run.
        time: Time = 0.2
        #: Standard deviation of x(0).
        start_scale: Time = 1.0

    class Sampling(Options):
        solver: Solver = "rk4"
        #: Steps from noise to data of `euler` and `rk4`; states of a trajectory for `dopri5`.
        steps: Count = 20
        #: Relative and absolute tolerance of `dopri5`.
        tolerance: Tolerance = 1e-5

    class Scoring(Options):
        #: How the density is solved for; None: as sampling does.
        solver: Solver | None = None
        steps: Count | None = None
        tolerance: Tolerance | None = None
        #: `exact` costs d products a step, `hutchinson` as many as `probes`; `auto` is exact up to 8 dimensions.
        trace: Literal["auto", "exact", "hutchinson"] = "auto"
        #: Sign vectors a datum, drawn from the noise.
        probes: Count = 1

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.parts["energy"].event_shape)

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"x": self.event_shape}

    def score(self, x: Tensor) -> Tensor:
        """Returns minus the energy, `(n,)`: the critic of eq. 5.11."""

        return self.parts["energy"].score(x)

    # --- solving -----------------------------------------------------------------------------------

    def solve(self, x: Tensor, options: Any, *, backwards: bool = False, states: bool = False) -> Tensor:
        """Carries x(0) to x(T), or back, both `(n, *event_shape)`.

        Gradients are recorded where they are enabled: the unrolled solver is differentiable.

        Arguments:
            options: Of :class:`Sampling`.
            states: Whether to return all `steps + 1` states, `(steps + 1, n, *event_shape)`.
        """

        def slope(_: Tensor, y: Tensor) -> Tensor:
            return ascent(self.parts["energy"], y.view(-1, *self.event_shape))[0].flatten(1)

        y = self._integrate(slope, x.flatten(1), options, backwards)
        return (y if states else y[-1]).unflatten(-1, self.event_shape)

    def solve_back(self, x: Tensor, options: Any, tangents: Tensor) -> tuple[Tensor, Tensor]:
        r"""Carries data back to noise, and integrates the trace.

        Arguments:
            x: Data, `(n, *event_shape)`.
            options: Of :class:`Sampling`.
            tangents: The vectors of the trace :math:`\sum_k e_k^T \nabla\nabla s\, e_k`, `(k, n, *event_shape)`.

        Returns:
            x(0), `(n, *event_shape)`, and :math:`\int_0^T \mathrm{tr} \nabla\nabla s\, dt`, `(n,)`.
        """

        d = math.prod(self.event_shape)

        def slope(_: Tensor, y: Tensor) -> Tensor:
            velocity, trace = ascent(self.parts["energy"], y[:, :d].unflatten(1, self.event_shape), tangents)
            return torch.cat([velocity.flatten(1), trace[:, None]], 1)

        y = torch.cat([x.flatten(1), x.new_zeros(x.shape[0], 1)], 1)
        y = self._integrate(slope, y, options, backwards=True)[-1]
        return y[:, :d].unflatten(1, self.event_shape), -y[:, d]

    def _integrate(self, slope: Any, y: Tensor, options: Any, backwards: bool) -> Tensor:
        """Returns the states at `steps + 1` equidistant times, `(steps + 1, n, ...)`."""

        ends = (self.config.time, 0.0) if backwards else (0.0, self.config.time)
        times = torch.linspace(*ends, options.steps + 1, dtype=y.dtype, device=y.device)
        if options.solver == "dopri5":
            return _odeint(slope, y, times, method="dopri5", rtol=options.tolerance, atol=options.tolerance)
        return _odeint(slope, y, times, method=options.solver)

    # --- sampling ----------------------------------------------------------------------------------

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        return self.decode(self.config.start_scale * eps["x"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        return self.solve(self.start(noise), self.sampling(options))

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the noise and the state after each step."""

        yield from self.solve(self.start(noise), self.sampling(options), states=True)

    def start(self, noise: Noise) -> Tensor:
        """Returns x(0), `(n, *event_shape)`."""

        return self.config.start_scale * noise.named(self.noise_shapes)["x"]

    # --- codes and density -------------------------------------------------------------------------

    def encode(self, x: Tensor) -> Tensor:
        """Returns the start of the dynamics that end in `x`, both `(n, *event_shape)`."""

        return self.solve(x, self.sampling(), backwards=True)

    def decode(self, z: Tensor) -> Tensor:
        return self.solve(z, self.sampling())

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        r"""Returns the log-density of eq. 5.7, `(n,)`; the noise is for Hutchinson's trace."""

        o, own = self.scoring(options), self.sampling()
        chosen = self.Sampling(
            solver=o.solver or own.solver, steps=o.steps or own.steps, tolerance=o.tolerance or own.tolerance
        )
        vectors = tangents(x, noise, o.trace, o.probes)
        if torch.is_grad_enabled() or chosen.solver == "dopri5":
            return self._log_prob(x, chosen, vectors)
        blocks = zip(x.split(_ROWS), vectors.split(_ROWS, 1), strict=True)  # bounds the memory
        return torch.cat([self._log_prob(part, chosen, t) for part, t in blocks])

    def _log_prob(self, x: Tensor, options: Any, tangents: Tensor) -> Tensor:
        start, trace = self.solve_back(x, options, tangents)
        scaled = start.flatten(1) / self.config.start_scale
        constant = scaled.shape[1] * (math.log(2 * math.pi) / 2 + math.log(self.config.start_scale))
        return -scaled.square().sum(1) / 2 - constant - trace


def tangents(x: Tensor, noise: Noise | None, trace: str, probes: int) -> Tensor:
    """Returns the vectors of a trace, `(k, n, *event_shape)`: a basis, or signs over the root of k.

    Arguments:
        x: Points, `(n, *event_shape)`.
        noise: Of the signs; None stands for seed 0.
        trace: `exact`, `hutchinson`, or `auto`, which is exact up to 8 dimensions.
        probes: The number of sign vectors.
    """

    shape = x.shape[1:]
    d = math.prod(shape)
    if trace == "exact" or (trace == "auto" and d <= _EXACT_UP_TO):
        basis = torch.eye(d, dtype=x.dtype, device=x.device).view(d, 1, *shape)
        return basis.expand(-1, x.shape[0], *shape)
    noise = noise or IndexedNoise.like(x)
    normal = noise.normal(probes, *shape, name="probes").movedim(1, 0)
    return torch.where(normal < 0, -1.0, 1.0).to(x) / math.sqrt(probes)


def ascent(critic: Any, x: Tensor, tangents: Tensor | None = None) -> tuple[Tensor, Tensor | None]:
    r"""Returns the gradient of a critic's score and its curvature along vectors.

    A critic with a method `ascent` of its own is asked; any other is differentiated by autograd. Both results have
    gradients in x and in the critic's parameters where gradients are enabled.

    Arguments:
        critic: The critic s.
        x: Points, `(n, *event_shape)`.
        tangents: Vectors :math:`e_k`, `(k, n, *event_shape)`.

    Returns:
        :math:`\nabla s(x)`, `(n, *event_shape)`, and :math:`\sum_k e_k^T \nabla\nabla s(x)\, e_k`, `(n,)`.
    """

    own = getattr(critic, "ascent", None)
    if own is not None:
        return own(x, tangents)
    keep = torch.is_grad_enabled()
    with gradients():
        x = x if keep and x.requires_grad else leaf(x)
        (gradient,) = torch.autograd.grad(critic.score(x).sum(), x, create_graph=keep or tangents is not None)
        if tangents is None:
            return gradient, None
        curvature = x.new_zeros(len(x))
        for i, e in enumerate(tangents):
            last = i + 1 == len(tangents) and not keep
            (moved,) = torch.autograd.grad(gradient, x, e, create_graph=keep, retain_graph=not last)
            curvature = curvature + (moved * e).flatten(1).sum(1)
    return (gradient, curvature) if keep else (gradient.detach(), curvature)
