r"""Noise schedules: :math:`\beta_1, \ldots, \beta_T` and :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Annotated, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Config

__all__ = ["Beta", "Schedule", "betas", "posterior_variances", "tables", "vp_log_alpha_bar"]

Beta = Annotated[float, msgspec.Meta(gt=0.0, le=100.0)]


class Schedule(Config):
    """A discrete schedule.

    `linear`: from `beta_min` to `beta_max` [1]. `cosine`: [2], with its offset 0.008 and betas at most 0.999.
    `vp`: the variance-preserving SDE with `beta_min` and `beta_max` (0.1 and 20 in [3]), in `steps` steps.

    References:
        [1] Denoising Diffusion Probabilistic Models (Ho et al., 2020), section 4
        [2] Improved Denoising Diffusion Probabilistic Models (Nichol and Dhariwal, 2021), equation 17
        [3] Score-Based Generative Modeling through SDEs (Song et al., 2021), equation 32
    """

    name: Literal["linear", "cosine", "vp"] = "linear"
    steps: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1000
    beta_min: Beta | None = None
    beta_max: Beta | None = None

    def __post_init__(self) -> None:
        low, high = self.ends
        if low > high or (self.name == "linear" and high >= 1):
            raise ValueError(f"betas from {low:g} to {high:g} are no schedule {self.name}")

    @property
    def ends(self) -> tuple[float, float]:
        """The least and the largest beta, those of the papers where none are given."""

        low, high = (1e-4, 0.02) if self.name == "linear" else (0.1, 20.0)
        return (
            low if self.beta_min is None else self.beta_min,
            high if self.beta_max is None else self.beta_max,
        )


def betas(schedule: Schedule) -> Tensor:
    """Returns the betas, float64 `(T,)`."""

    n = schedule.steps
    if schedule.name == "linear":
        return torch.linspace(*schedule.ends, n, dtype=torch.float64)
    t = torch.arange(n + 1, dtype=torch.float64) / n
    if schedule.name == "cosine":
        alpha_bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    else:
        alpha_bar = vp_log_alpha_bar(t, *schedule.ends).exp()
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


@lru_cache
def tables(schedule: Schedule, device: torch.device) -> tuple[Tensor, Tensor]:
    r"""Returns the betas and :math:`\bar\alpha_t` on a device, float32 `(T,)` each."""

    with torch.inference_mode(False):  # what is kept may later be part of a graph
        b = betas(schedule)
        return b.float().to(device), (1 - b).cumprod(0).float().to(device)


def posterior_variances(betas: Tensor, alpha_bar: Tensor) -> Tensor:
    r"""Returns :math:`\tilde\beta_t = \beta_t (1 - \bar\alpha_{t-1}) / (1 - \bar\alpha_t)`, `(T,)`; the first is 0."""

    before = torch.cat([torch.ones_like(alpha_bar[:1]), alpha_bar[:-1]])
    return betas * (1 - before) / (1 - alpha_bar)


def vp_log_alpha_bar(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    r"""Returns :math:`\log\bar\alpha(t) = -\int_0^t \beta` for a :math:`\beta` linear from `beta_min` to `beta_max`."""

    return -0.5 * t**2 * (beta_max - beta_min) - t * beta_min
