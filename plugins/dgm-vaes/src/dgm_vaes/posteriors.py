r"""Approximate posteriors :math:`q(z \mid x)`: a normal distribution, or one that a flow has bent."""

from __future__ import annotations

import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

__all__ = ["Continuous", "InverseAutoregressive", "Kind", "Planar", "Radial", "make_flow"]

Kind = Literal["normal", "planar", "radial", "iaf", "cnf"]


class Planar(nn.Module):
    r"""Planar steps :math:`z + \hat u \tanh(w^\top z + b)` with `u`, `w`, `b` given by the encoder [1].

    :math:`\hat u` is `u` moved along `w` until :math:`w^\top \hat u \ge -1`, so every step can be inverted.

    References:
        [1] Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015), eq. 10, 11 and appendix A.1
    """

    def __init__(self, latents: int, context: int, steps: int):
        super().__init__()
        self.latents, self.steps = latents, steps
        self.amortize = nn.Linear(context, steps * (2 * latents + 1))

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the bent `z` and the log-determinant `(n,)`; `z` and `context` have `n` rows."""
        parameters = self.amortize(context).unflatten(1, (self.steps, -1))
        total = z.new_zeros(z.shape[0])
        for u, w, b in zip(*(p.unbind(1) for p in parameters.split([self.latents, self.latents, 1], 2)), strict=True):
            wu = (w * u).sum(1, keepdim=True)
            # softplus(a + 0.5413) - 1 is 0 at a = 0, so that steps of no weight stay the identity
            u = u + (F.softplus(wu + math.log(math.e - 1.0)) - 1.0 - wu) * w / (w.square().sum(1, keepdim=True) + 1e-8)
            h = torch.tanh((w * z).sum(1, keepdim=True) + b)
            total = total + torch.log1p((1.0 - h.square()) * (w * u).sum(1, keepdim=True)).squeeze(1)
            z = z + u * h
        return z, total


class Radial(nn.Module):
    r"""Radial steps :math:`z + \beta (z - c) / (\alpha + |z - c|)` with parameters given by the encoder [1].

    They pull towards a point `c` or push away from it; :math:`\beta > -\alpha`, so every step can be inverted.

    References:
        [1] Variational Inference with Normalizing Flows (Rezende & Mohamed, 2015), eq. 14 and appendix A.2
    """

    def __init__(self, latents: int, context: int, steps: int):
        super().__init__()
        self.latents, self.steps = latents, steps
        self.amortize = nn.Linear(context, steps * (latents + 2))

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the bent `z` and the log-determinant `(n,)`; `z` and `context` have `n` rows."""
        parameters = self.amortize(context).unflatten(1, (self.steps, -1))
        total = z.new_zeros(z.shape[0])
        for c, a, b in zip(*(p.unbind(1) for p in parameters.split([self.latents, 1, 1], 2)), strict=True):
            alpha = F.softplus(a) + 1e-3
            beta = alpha * (F.softplus(b + math.log(math.e - 1.0)) - 1.0)  # 0 at b = 0: the identity
            r = (z - c).norm(dim=1, keepdim=True)
            h = 1.0 / (alpha + r)
            around, along = torch.log1p(beta * h), torch.log1p(beta * alpha * h.square())
            total = total + ((self.latents - 1) * around + along).squeeze(1)
            z = z + beta * h * (z - c)
        return z, total


class MaskedLinear(nn.Linear):
    """A dense layer with a fixed 0-1 mask `(out, in)`."""

    def __init__(self, mask: Tensor):
        super().__init__(mask.shape[1], mask.shape[0])
        self.register_buffer("mask", mask, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x, self.weight * self.mask, self.bias)


class InverseAutoregressive(nn.Module):
    r"""Steps :math:`z_i \to \sigma_i z_i + (1 - \sigma_i) m_i` with `m`, `\sigma` of :math:`z_{<i}` [1].

    The order of the entries is reversed from step to step.

    References:
        [1] Improved Variational Inference with Inverse Autoregressive Flow (Kingma et al., 2016), eq. 14
    """

    def __init__(self, latents: int, context: int, steps: int, hidden: int = 128):
        super().__init__()
        degrees, inner = torch.arange(latents), torch.arange(hidden) % max(1, latents - 1)
        first = (inner[:, None] >= degrees[None, :]).float()
        last = (degrees[:, None] > inner[None, :]).float().repeat(2, 1)
        self.inputs = nn.ModuleList(MaskedLinear(first) for _ in range(steps))
        self.contexts = nn.ModuleList(nn.Linear(context, hidden) for _ in range(steps))
        self.outputs = nn.ModuleList(MaskedLinear(last) for _ in range(steps))

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the bent `z` and the log-determinant `(n,)`; `z` and `context` have `n` rows."""
        total = z.new_zeros(z.shape[0])
        for enter, condition, leave in zip(self.inputs, self.contexts, self.outputs, strict=True):
            m, s = leave(F.elu(enter(z) + condition(context))).chunk(2, 1)
            log_sigma = F.logsigmoid(s + 1.5)  # a forget gate that starts open
            gate = log_sigma.exp()
            z = (gate * z + (1.0 - gate) * m).flip(1)
            total = total + log_sigma.sum(1)
        return z, total


class Continuous(nn.Module):
    r"""A continuous flow :math:`\dot z = U \tanh(W z + V h + a t + b)` of unit time, given features h [1].

    The trace of its Jacobian, :math:`\sum_m (1 - \tanh^2)_m \, w_m^\top u_m`, has a closed form, so the change of the
    log-density needs no estimate. It is solved in `steps` Runge-Kutta steps of order 4.

    References:
        [1] Neural Ordinary Differential Equations (Chen et al., 2018), https://arxiv.org/abs/1806.07366, eq. 8 to 10
    """

    def __init__(self, latents: int, context: int, steps: int, hidden: int = 64):
        super().__init__()
        self.steps = steps
        self.enter, self.condition = nn.Linear(latents, hidden), nn.Linear(context + 1, hidden, bias=False)
        self.leave = nn.Linear(hidden, latents, bias=False)
        nn.init.zeros_(self.leave.weight)  # the identity

    def slope(self, z: Tensor, context: Tensor, time: float) -> tuple[Tensor, Tensor]:
        """Returns dz/dt and the trace of its Jacobian, `(n,)`."""
        moment = context.new_full((len(context), 1), time)
        h = torch.tanh(self.enter(z) + self.condition(torch.cat([context, moment], 1)))
        products = (self.enter.weight * self.leave.weight.mT).sum(1)
        return self.leave(h), (1.0 - h.square()) @ products

    def forward(self, z: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the bent `z` and the log-determinant `(n,)`; `z` and `context` have `n` rows."""
        total, width = z.new_zeros(len(z)), 1.0 / self.steps
        for i in range(self.steps):
            v, trace, slopes = z, z.new_zeros(len(z)), z.new_zeros(z.shape)
            for part, weight in ((0.0, 1.0), (0.5, 2.0), (0.5, 2.0), (1.0, 1.0)):
                v, change = self.slope(z + part * width * v if part else z, context, (i + part) * width)
                slopes, trace = slopes + weight * v, trace + weight * change
            z, total = z + width / 6.0 * slopes, total + width / 6.0 * trace
        return z, total


def make_flow(kind: Kind, latents: int, context: int, steps: int) -> nn.Module | None:
    """Returns the flow of a posterior, or None for a normal one.

    Arguments:
        context: The number of features that the encoder gives.
    """

    if kind == "normal":
        return None
    kinds = {"planar": Planar, "radial": Radial, "iaf": InverseAutoregressive, "cnf": Continuous}
    return kinds[kind](latents, context, steps)
