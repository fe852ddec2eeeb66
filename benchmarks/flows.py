"""Real NVP against zuko, OT-Flow against torchdiffeq: the same sizes and weights, interleaved, medians.

`python benchmarks/run.py flows`, or alone: `python benchmarks/flows.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from timing import compared
from torch import Tensor, nn

N = 10_000  # points sampled or measured at once
BATCH = 256  # of a training step


def run() -> list[dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [*real_nvp(), *ot_flow()]


# --- Real NVP: 6 couplings, two nets of width 128 each -------------------------------------------------


def real_nvp() -> list[dict[str, Any]]:
    from dgm_flows.realnvp import RealNVP

    ours, theirs = RealNVP(), ZukoRealNVP()
    theirs.copy(ours)
    x, z = torch.randn(BATCH, 2), torch.randn(N, 2)
    with torch.no_grad():
        assert torch.allclose(ours.decode(z), theirs.decode(z), atol=1e-4), "the two are not the same flow"
        assert torch.allclose(ours.log_prob(x), theirs.log_prob(x), atol=1e-3), "the two are not the same flow"
    note = "zuko's coupling and affine transformations, the same nets"
    return [
        compared(
            "Real NVP, sample 10,000", partial(_quietly, ours.decode, z), partial(_quietly, theirs.decode, z), note
        ),
        compared(
            "Real NVP, log_prob 10,000",
            partial(_quietly, ours.log_prob, z),
            partial(_quietly, theirs.log_prob, z),
            note,
        ),
        compared(
            "Real NVP, training step 256", _trainer(ours, ours.log_prob, x), _trainer(theirs, theirs.log_prob, x), note
        ),
    ]


class ZukoRealNVP(nn.Module):
    """Real NVP of zuko's transformations, each with nets `s` and `t` of the kept coordinate."""

    def __init__(self, layers: int = 6, hidden: int = 128):
        super().__init__()

        def net() -> nn.Sequential:
            sizes = [nn.Linear(1, hidden), nn.LeakyReLU(0.01), nn.Linear(hidden, hidden), nn.LeakyReLU(0.01)]
            return nn.Sequential(*sizes, nn.Linear(hidden, 1), nn.Tanh())

        self.s = nn.ModuleList(net() for _ in range(layers))
        self.t = nn.ModuleList(net() for _ in range(layers))
        self.masks = [torch.tensor([k % 2 == 0, k % 2 == 1]) for k in range(layers)]

    def copy(self, ours: nn.Module) -> None:
        """Takes the weights that are not masked."""
        for k in range(len(self.s)):
            for j, net in enumerate((self.s[k], self.t[k])):
                kept, free = slice(k % 2, None, 2), slice(1 - k % 2, None, 2)
                for name, place, rows, columns in (
                    ("first", 0, slice(None), kept),
                    ("second", 2, slice(None), slice(None)),
                    ("third", 4, free, slice(None)),
                ):
                    net[place].weight.data.copy_(getattr(ours, f"{name}_weight")[k, j][rows, columns])
                    net[place].bias.data.copy_(getattr(ours, f"{name}_bias")[k, j, 0][rows])

    def flow(self) -> Any:
        """Returns the map from noise to data."""
        from torch.distributions import AffineTransform
        from zuko.transforms import ComposedTransform, CouplingTransform, DependentTransform

        def meta(s: nn.Module, t: nn.Module, kept: Tensor) -> Any:
            return DependentTransform(AffineTransform(t(kept), s(kept).exp()), 1)

        layers = zip(self.s, self.t, self.masks, strict=True)
        return ComposedTransform(*(CouplingTransform(partial(meta, s, t), mask) for s, t, mask in layers))

    def decode(self, z: Tensor) -> Tensor:
        return self.flow()(z)

    def log_prob(self, x: Tensor) -> Tensor:
        z, ladj = self.flow().inv.call_and_ladj(x)
        return ladj + torch.distributions.Normal(0.0, 1.0).log_prob(z).sum(1)


# --- OT-Flow: 1,229 weights --------------------------------------------------------------------------


def ot_flow(steps: int = 8) -> list[dict[str, Any]]:
    from dgm_flows.otflow import OTFlow
    from torchdiffeq import odeint

    model = OTFlow()
    model.set_sampling_defaults({"steps": steps})
    p = model.potential
    K0, b0, K1, b1 = p.opening.weight, p.opening.bias, p.residual[0].weight, p.residual[0].bias

    def gradient(t: Tensor, x: Tensor) -> Tensor:
        """The formulas of the paper, one line each."""
        s = torch.cat([x, t.expand(len(x), 1)], 1)
        opening = s @ K0.T + b0
        u = opening.abs() + torch.log1p(torch.exp(-2 * opening.abs()))
        z = p.w + (torch.tanh(u @ K1.T + b1) * p.w) @ K1
        return -((torch.tanh(opening) * z) @ K0 + s @ (p.A.T @ p.A) + p.b)[:, :2]

    def with_trace(t: Tensor, state: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        """The trace by two passes of autograd."""
        with torch.enable_grad():
            x = state[0] if state[0].requires_grad else state[0].detach().requires_grad_()
            v = gradient(t, x)
            rows = [torch.autograd.grad(v[:, i].sum(), x, create_graph=True)[0][:, i] for i in range(2)]
        return (v, sum(rows)) if torch.is_grad_enabled() else (v.detach(), sum(rows).detach())

    def decode(z: Tensor) -> Tensor:
        return odeint(gradient, z, torch.tensor([1.0, 0.0]), method="rk4", options={"step_size": 1 / steps})[-1]

    def log_prob(x: Tensor, steps: int) -> Tensor:
        start = (x, torch.zeros(len(x)))
        z, ladj = odeint(with_trace, start, torch.tensor([0.0, 1.0]), method="rk4", options={"step_size": 1 / steps})
        return ladj[-1] + torch.distributions.Normal(0.0, 1.0).log_prob(z[-1]).sum(1)

    x, z = torch.randn(BATCH, 2), torch.randn(N, 2)
    with torch.no_grad():  # torchdiffeq's rule of order 4 is another than ours: equal to the order's error
        assert torch.allclose(model.decode(z), decode(z), atol=1e-2), "the two are not the same flow"
        assert torch.allclose(model.log_prob(x), log_prob(x, steps), atol=1e-2), "the two are not the same flow"

    def likelihood(x: Tensor) -> Tensor:
        out = model.integrate(x, 4)
        return out["ladj"] - 0.5 * out["z"].square().sum(1)

    rk4 = f"torchdiffeq rk4, {steps} steps"
    return [
        compared("OT-Flow, sample 10,000", partial(_quietly, model.decode, z), partial(_quietly, decode, z), rk4),
        compared(
            "OT-Flow, log_prob 10,000",
            partial(_quietly, model.log_prob, z),
            partial(_quietly, log_prob, z, steps),
            f"{rk4}, trace by autograd",
        ),
        compared(
            "OT-Flow, training step 256",
            _trainer(model, likelihood, x),
            _trainer(model, partial(log_prob, steps=4), x.clone().requires_grad_()),
            "torchdiffeq rk4, 4 steps, trace by autograd, without the HJB penalty that ours includes",
        ),
    ]


# --- measuring -----------------------------------------------------------------------------------------


def _quietly(function: Callable[..., Any], *args: Any) -> None:
    with torch.no_grad():
        function(*args)


def _trainer(model: nn.Module, log_prob: Callable[[Tensor], Tensor], x: Tensor) -> Callable[[], None]:
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.Adam(parameters, lr=1e-6)

    def step() -> None:
        optimizer.zero_grad()
        (-log_prob(x).mean()).backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:30} ours {row['ours']:8.1f} ms  theirs {row['theirs']:8.1f} ms  ratio {row['ratio']:.2f}")
