"""Independent writings of the published flows, straight from the authors' tensor names: what the tests compare with."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn


class PlainRealNVP(nn.Module):
    """Twelve nets of the whole masked vector, one layer at a time."""

    def __init__(self, layers: int = 6, dim: int = 2, hidden: int = 128):
        super().__init__()

        def net():
            return nn.Sequential(
                nn.Linear(dim, hidden),
                nn.LeakyReLU(0.01),
                nn.Linear(hidden, hidden),
                nn.LeakyReLU(0.01),
                nn.Linear(hidden, dim),
                nn.Tanh(),
            )

        self.layers = nn.ModuleList(nn.ModuleDict({"s": net(), "t": net()}) for _ in range(layers))
        self.masks = [(torch.arange(dim) % 2 == k % 2).double() for k in range(layers)]

    def decode(self, z: Tensor) -> Tensor:
        for layer, m in zip(self.layers, self.masks, strict=True):
            m = m.to(z)
            s, t = layer["s"](m * z), layer["t"](m * z)
            z = m * z + (1 - m) * (z * torch.exp(s) + t)
        return z

    def log_prob(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns codes and log-densities."""
        ladj = torch.zeros(len(x), dtype=x.dtype)
        for layer, m in reversed(list(zip(self.layers, self.masks, strict=True))):
            m = m.to(x)
            s, t = layer["s"](m * x), layer["t"](m * x)
            x = m * x + (1 - m) * (x - t) * torch.exp(-s)
            ladj = ladj - ((1 - m) * s).sum(1)
        return x, ladj - 0.5 * x.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


class PlainOTFlow:
    """OT-Flow by autograd of the potential: gradient and trace have no formula of their own here."""

    def __init__(self, state: dict[str, Tensor]):
        self.state = {k: v.double() for k, v in state.items()}
        self.layers = sum(k.startswith("N.layers.") and k.endswith(".weight") for k in state)

    def potential(self, s: Tensor) -> Tensor:
        p, h = self.state, 1 / (self.layers - 1)

        def sigma(x):
            return x.abs() + torch.log1p(torch.exp(-2 * x.abs()))

        u = sigma(s @ p["N.layers.0.weight"].T + p["N.layers.0.bias"])
        for i in range(1, self.layers):
            u = u + h * sigma(u @ p[f"N.layers.{i}.weight"].T + p[f"N.layers.{i}.bias"])
        quadratic = 0.5 * ((s @ p["A"].T) ** 2).sum(1)
        return (u @ p["w.weight"].T)[:, 0] + quadratic + (s @ p["c.weight"].T)[:, 0] + p["c.bias"]

    def slope(self, x: Tensor, t: float) -> tuple[Tensor, Tensor]:
        """Returns minus the gradient in x, and minus the trace of the Hessian in x."""
        x = x.detach().requires_grad_()
        s = torch.cat([x, torch.full((len(x), 1), t, dtype=x.dtype)], 1)
        (gradient,) = torch.autograd.grad(self.potential(s).sum(), x, create_graph=True)
        trace = sum(torch.autograd.grad(gradient[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(x.shape[1]))
        return -gradient.detach(), -trace.detach()

    def log_prob(self, x: Tensor, steps: int) -> tuple[Tensor, Tensor]:
        """Returns codes and log-densities after classical Runge-Kutta from 0 to 1."""
        h, ladj, t = 1 / steps, torch.zeros(len(x), dtype=x.dtype), 0.0
        for _ in range(steps):
            k1, l1 = self.slope(x, t)
            k2, l2 = self.slope(x + h / 2 * k1, t + h / 2)
            k3, l3 = self.slope(x + h / 2 * k2, t + h / 2)
            k4, l4 = self.slope(x + h * k3, t + h)
            x = x + h / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
            ladj = ladj + h / 6 * (l1 + 2 * l2 + 2 * l3 + l4)
            t += h
        return x, ladj - 0.5 * x.square().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)


def random_otflow_state(dim: int = 2, width: int = 32, layers: int = 2, seed: int = 0) -> dict[str, Tensor]:
    """Returns float64 tensors with the names of an OT-Flow checkpoint."""

    g = torch.Generator().manual_seed(seed)

    def randn(*shape, scale=0.3):
        return scale * torch.randn(*shape, generator=g, dtype=torch.float64)

    state = {
        "A": randn(min(10, dim + 1), dim + 1),
        "c.weight": randn(1, dim + 1),
        "c.bias": randn(1),
        "w.weight": randn(1, width),
        "N.layers.0.weight": randn(width, dim + 1),
        "N.layers.0.bias": randn(width),
    }
    for i in range(1, layers):
        state |= {f"N.layers.{i}.weight": randn(width, width, scale=0.15), f"N.layers.{i}.bias": randn(width)}
    return state
