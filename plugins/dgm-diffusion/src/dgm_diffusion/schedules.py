r"""Noise schedules: :math:`\beta_1, \ldots, \beta_T` and :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)`."""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from dgmcore import Config

__all__ = ["Schedule", "betas", "vp_log_alpha_bar"]


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
    steps: int = 1000
    beta_min: float | None = None
    beta_max: float | None = None


def betas(schedule: Schedule) -> Tensor:
    """Returns the betas, float64 `(T,)`."""

    n = schedule.steps
    if schedule.name == "linear":
        low = 1e-4 if schedule.beta_min is None else schedule.beta_min
        high = 0.02 if schedule.beta_max is None else schedule.beta_max
        return torch.linspace(low, high, n, dtype=torch.float64)
    t = torch.arange(n + 1, dtype=torch.float64) / n
    if schedule.name == "cosine":
        alpha_bar = torch.cos((t + 0.008) / 1.008 * math.pi / 2) ** 2
    else:
        low = 0.1 if schedule.beta_min is None else schedule.beta_min
        high = 20.0 if schedule.beta_max is None else schedule.beta_max
        alpha_bar = vp_log_alpha_bar(t, low, high).exp()
    return (1 - alpha_bar[1:] / alpha_bar[:-1]).clamp(max=0.999)


def vp_log_alpha_bar(t: Tensor, beta_min: float, beta_max: float) -> Tensor:
    r"""Returns :math:`\log\bar\alpha(t) = -\int_0^t \beta` for a :math:`\beta` linear from `beta_min` to `beta_max`."""

    return -0.5 * t**2 * (beta_max - beta_min) - t * beta_min
