r"""The few large steps of denoising diffusion GANs.

:math:`\log\bar\alpha(t') = -\frac12 t'^2 (\beta_{max} - \beta_{min}) - t' \beta_{min}` at
:math:`t' = 10^{-3} + (1 - 10^{-3}) i / T`, i = 0..T. Equation 6.15 of the thesis has :math:`t' = i / T`; the published
weights were trained with the times above. The index t = 0..T-1 stands for the pair :math:`(x_t, x_{t+1})`; :math:`x_0`
is the data with an extra :math:`\beta` of 1e-8.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

__all__ = ["Diffusion"]


class Diffusion(nn.Module):
    """The forward chain and its posterior, float32 as published."""

    betas: Tensor
    alpha_bar: Tensor
    posterior_x0: Tensor
    posterior_after: Tensor
    posterior_variance: Tensor

    def __init__(self, steps: int, beta_min: float = 0.1, beta_max: float = 20.0):
        super().__init__()
        t = 1e-3 + (1 - 1e-3) * torch.arange(steps + 1, dtype=torch.float64) / steps
        bar = (-0.5 * t**2 * (beta_max - beta_min) - t * beta_min).exp()
        beta = 1 - bar[1:] / bar[:-1]
        after = (1 - beta).cumprod(0)
        before = torch.cat([torch.ones(1, dtype=beta.dtype), after[:-1]])
        buffers = {
            "betas": beta,
            "alpha_bar": (1 - torch.cat([torch.tensor([1e-8], dtype=beta.dtype), beta])).cumprod(0),
            "posterior_x0": beta * before.sqrt() / (1 - after),
            "posterior_after": (1 - before) * (1 - beta).sqrt() / (1 - after),
            "posterior_variance": beta * (1 - before) / (1 - after),
        }
        for name, value in buffers.items():
            self.register_buffer(name, value.float(), persistent=False)

    def diffuse(self, x0: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Returns `x_t` for integer times from 0 (the data) to T."""

        bar = _like(self.alpha_bar[t], x0)
        return bar.sqrt() * x0 + (1 - bar).sqrt() * eps

    def pair(self, x0: Tensor, t: Tensor, eps: Tensor, step: Tensor) -> tuple[Tensor, Tensor]:
        """Returns `x_t` and, one true step of the chain later, `x_{t+1}`."""

        beta, x = _like(self.betas[t], x0), self.diffuse(x0, t, eps)
        return x, (1 - beta).sqrt() * x + beta.sqrt() * step

    def posterior(self, x0: Tensor, after: Tensor, t: Tensor, eps: Tensor) -> Tensor:
        """Draws `x_t` given `x_0` and `x_{t+1}` (thesis, eq. 2.50 and 2.51); at t = 0 that is `x_0`."""

        mean = _like(self.posterior_x0[t], x0) * x0 + _like(self.posterior_after[t], x0) * after
        return mean + _like(self.posterior_variance[t], x0).sqrt() * eps


def _like(values: Tensor, x: Tensor) -> Tensor:
    return values.reshape(-1, *[1] * (x.ndim - 1))
