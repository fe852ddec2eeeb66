"""Samplers of discrete diffusion: ancestral, DDIM, and diffusers' DPM-Solver++.

Each is a generator of states: `(model, x_T, times from high to low, noise, options)`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor

from dgmcore.noise import Noise

__all__ = ["SAMPLERS", "Asked", "Denoiser", "ancestral", "ddim", "dpm_solver"]


class Denoiser(Protocol):
    """What a sampler asks of a model."""

    config: Any  # with `schedule`, `prediction` and `variance`
    event_shape: tuple[int, ...]
    betas: Tensor
    alpha_bar: Tensor

    def predict(self, x: Tensor, t: Tensor) -> Tensor:
        """Returns the network's output for `x` at a time `()`."""
        ...

    def denoise(self, x: Tensor, t: Tensor, clip: bool = False) -> Tensor:
        """Returns the prediction of `x_0`."""
        ...

    def moments(self, x: Tensor, t: Tensor, clip: bool = False) -> tuple[Tensor, Tensor | None]:
        """Returns the prediction of `x_0`, and where a learned variance lies between the posterior's and beta."""
        ...


class Asked:
    """A model that is asked for labels `(n,)`, with a weight of guidance, as a sampler sees it."""

    def __init__(self, model: Any, labels: Tensor, guidance: float):
        self.config, self.event_shape = model.config, model.event_shape
        self.betas, self.alpha_bar = model.betas, model.alpha_bar
        self.predict = partial(model.predict, labels=labels, guidance=guidance)
        self.denoise = partial(model.denoise, labels=labels, guidance=guidance)
        self.moments = partial(model.moments, labels=labels, guidance=guidance)


def ancestral(model: Denoiser, x: Tensor, times: list[int], noise: Noise, options: Any) -> Iterator[Tensor]:
    r"""Draws from :math:`p(x_s | x_t)` along any decreasing times: equations 6 and 7 of Ho et al. with

    :math:`\beta = 1 - \bar\alpha_t / \bar\alpha_s`; no noise at the last step.
    """

    for i, t in enumerate(times):
        now = model.alpha_bar[t]
        before = model.alpha_bar[times[i + 1]] if i + 1 < len(times) else torch.ones_like(now)
        beta = 1 - now / before
        x0, share = model.moments(x, torch.tensor(t, device=x.device), clip=True)
        mean = (before.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - before) * x) / (1 - now)
        if i + 1 == len(times):
            x = mean
        else:
            small = beta * (1 - before) / (1 - now)
            variance = beta if model.config.variance == "large" else small
            if share is not None:  # learned, between the two
                variance = (share * beta.log() + (1 - share) * small.log()).exp()
            x = mean + variance.sqrt() * noise.normal(*model.event_shape)
        yield x


def ddim(model: Denoiser, x: Tensor, times: list[int], noise: Noise, options: Any) -> Iterator[Tensor]:
    """Denoising Diffusion Implicit Models (Song et al., 2021), equations 12 and 16, along any decreasing times."""

    for i, t in enumerate(times):
        now = model.alpha_bar[t]
        before = model.alpha_bar[times[i + 1]] if i + 1 < len(times) else torch.ones_like(now)
        x0 = model.denoise(x, torch.tensor(t, device=x.device), clip=True)
        eps = (x - now.sqrt() * x0) / (1 - now).sqrt()
        sigma = options.eta * ((1 - before) / (1 - now) * (1 - now / before)).sqrt()
        x = before.sqrt() * x0 + (1 - before - sigma**2).clamp_min(0).sqrt() * eps
        if options.eta > 0:
            x = x + sigma * noise.normal(*model.event_shape)
        yield x


def dpm_solver(model: Denoiser, x: Tensor, times: list[int], noise: Noise, options: Any) -> Iterator[Tensor]:
    """DPM-Solver++ (Lu et al., 2022), second order multistep, by diffusers' scheduler."""

    from diffusers import DPMSolverMultistepScheduler  # takes seconds to import: only where it runs

    scheduler = DPMSolverMultistepScheduler(
        num_train_timesteps=model.config.schedule.steps,
        trained_betas=model.betas.double().cpu().numpy(),
        prediction_type={"eps": "epsilon", "x0": "sample", "v": "v_prediction"}[model.config.prediction],
        final_sigmas_type="zero",
    )
    scheduler.set_timesteps(timesteps=times)
    for t in scheduler.timesteps:
        out = model.predict(x, t.to(x.device))
        x = scheduler.step(out, t, x).prev_sample.to(x.dtype)
        yield x


SAMPLERS: dict[str, Callable[..., Iterator[Tensor]]] = {
    "ddpm": ancestral,
    "ddim": ddim,
    "dpm-solver++": dpm_solver,
}
