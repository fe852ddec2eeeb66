r"""Denoising diffusions under observations: guidance by the denoiser's estimate in place of chains in 1,000 noises.

With :math:`\hat x_0(x_t)` the denoiser's estimate, the posterior's estimate is, by Tweedie's formula,

.. math:: \hat x_0 + \frac{1 - \bar\alpha_t}{\sqrt{\bar\alpha_t}} \nabla_{x_t} \log p(y \mid x_t), \qquad
    p(y \mid x_t) \approx N(y; A \hat x_0, \sigma^2 + r_t^2 A A^T), \quad r_t^2 = 1 - \bar\alpha_t.

References:
    [1] Pseudoinverse-Guided Diffusion Models for Inverse Problems (Song et al., 2023): `moment`
    [2] Diffusion Posterior Sampling for General Noisy Inverse Problems (Chung et al., 2023),
        https://arxiv.org/abs/2209.14687, algorithm 1: `dps`
    [3] RePaint: Inpainting using Denoising Diffusion Probabilistic Models (Lugmayr et al., 2022),
        https://arxiv.org/abs/2201.09865, algorithm 1: `repaint`
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import torch
from torch import Tensor

from dgmcore.compose import gradients, leaf
from dgmcore.errors import NotFiniteError, OptionError, UsageError
from dgmcore.noise import Noise
from dgmcore.sampling import model_range

from .chains.blocks import block_of, in_blocks
from .correct import corrected
from .observation import Observation
from .record import Record

__all__ = ["DIFFUSIONS", "Look", "denoises", "guided"]

DIFFUSIONS = ("moment", "dps", "repaint")
_STEPS = 100
_AGAIN = 5  # times that RePaint makes each step

#: Returns a state as data, `(n, *event_shape)`.
Look = Callable[[], Tensor]


def denoises(model: Any) -> bool:
    """Whether a model is a denoising diffusion in discrete time."""

    return hasattr(model, "denoise") and hasattr(model, "alpha_bar") and hasattr(model, "betas")


def guided(model: Any, noise: Noise, options: Any) -> Iterator[Look]:
    """Yields the states of a diffusion under observations; the last are the samples."""

    way = "moment" if options.sampler == "auto" else options.sampler
    if way not in DIFFUSIONS:
        raise OptionError(f"the sampler {way} is for functions of noise", f"choose one of {', '.join(DIFFUSIONS)}")
    base = model.base
    total = base.config.schedule.steps
    steps = min(options.steps or (total // _AGAIN if way == "repaint" and total < 500 else _STEPS), total)
    times = torch.linspace(total - 1, 0, steps, dtype=torch.float64).round().long().unique().flip(0).tolist()
    why = f"guidance by the denoiser's estimate ({way})"
    record = model.record(Record("approximation", way, why))
    x = noise.normal(*base.event_shape, name="start")
    yield partial(_same, x)
    chain = noise.child("chain")
    step = _Repaint(model, chain) if way == "repaint" else _Guided(model, chain, way, options.guidance)
    for i, t in enumerate(times):
        x = step(x, t, times[i + 1] if i + 1 < len(times) else None)
        yield partial(_same, x)
    seen = [one for one in model.observations if isinstance(one, Observation)]
    for one in seen:
        record.misfit(one.what, one.sigma, one.misfit(x), options.correct)
    if options.correct and seen:
        yield partial(corrected, x, seen, limits=model_range(model))


def _same(x: Tensor) -> Tensor:
    return x


def _back(base: Any, x: Tensor, x0: Tensor, t: int, before: int | None, noise: Noise) -> Tensor:
    """Draws from q(x_before | x_t, x_0); at the last step it is x_0."""

    if before is None:
        return x0
    now, then = base.alpha_bar[t], base.alpha_bar[before]
    beta = 1 - now / then
    mean = (then.sqrt() * beta * x0 + (1 - beta).sqrt() * (1 - then) * x) / (1 - now)
    return (mean + (beta * (1 - then) / (1 - now)).sqrt() * noise.normal(*base.event_shape)).to(x)


class _Guided:
    """A step that follows the gradient of the log-likelihood of the denoiser's estimate."""

    def __init__(self, model: Any, noise: Noise, way: str, strength: float):
        self.model, self.base, self.noise, self.way, self.strength = model, model.base, noise, way, strength
        self.block = block_of(model.base.event_shape)
        self.seen = [one for one in model.observations if isinstance(one, Observation)]
        if way == "dps" and not (self.seen and len(self.seen) == len(model.observations) and not model.critics):
            raise UsageError("dps is for observations with noise", "--set sampler=moment takes labels and critics too")

    def __call__(self, x: Tensor, t: int, before: int | None) -> Tensor:
        bar = float(self.base.alpha_bar[t])
        spread = math.sqrt(1 - bar) if self.way == "moment" else 0.0
        x0, told, slope = in_blocks(lambda block: self._estimates(block, t, spread), x, self.block)
        if not told.isfinite().all():
            raise NotFiniteError(
                f"the critics' score of {int((~told.isfinite()).sum())} of {len(told)} samples is not finite",
                "check the critics: their weights, and the data that they were trained on",
            )
        if self.way == "moment":
            x0 = x0 + self.strength * (1 - bar) / math.sqrt(bar) * slope
            return _back(self.base, x, self._clipped(x0), t, before, self.noise)
        after = _back(self.base, x, self._clipped(x0), t, before, self.noise)
        # [2]: along the gradient of the squared distance, by zeta over the distance; so by a length that is its slope's
        distance = torch.stack([one.misfit(x0) * math.sqrt(one.y.numel()) for one in self.seen]).square().sum(0).sqrt()
        rate = self.strength * 2 * self.seen[0].sigma ** 2 / distance.clamp(min=1e-12)
        return after + rate.reshape(-1, *[1] * (x.ndim - 1)) * slope

    def _estimates(self, x: Tensor, t: int, spread: float) -> tuple[Tensor, Tensor, Tensor]:
        """Returns the denoiser's estimates, their log-likelihoods, and the slopes of these in `x`."""

        with gradients():
            xt = leaf(x)
            x0 = self.base.denoise(xt, torch.tensor(t, device=x.device))
            told = sum(term(x0) for term in self.model.terms(spread))
            assert isinstance(told, Tensor)
            (slope,) = torch.autograd.grad(told.sum(), xt)
        return x0.detach(), told.detach(), slope

    def _clipped(self, x0: Tensor) -> Tensor:
        clip = self.base.config.clip
        return x0 if clip is None else x0.clamp(*clip)


class _Repaint:
    """A step in which what is known is diffused from what was seen, made several times."""

    def __init__(self, model: Any, noise: Noise):
        known = [one.known for one in model.observations if isinstance(one, Observation) and one.known is not None]
        if len(known) != 1 or len(model.observations) > 1 or model.critics:
            raise UsageError("repaint is for one picture with a mask", "leave out the rest, or --set sampler=moment")
        self.base, self.noise = model.base, noise
        self.y, self.mask = known[0]
        self.block = block_of(model.base.event_shape)

    @torch.no_grad()
    def __call__(self, x: Tensor, t: int, before: int | None) -> Tensor:
        base, y, mask = self.base, self.y.to(x), self.mask.to(x.device)
        clip, time = base.config.clip, torch.tensor(t, device=x.device)
        for again in range(_AGAIN if before is not None else 1):
            (x0,) = in_blocks(lambda block: (base.denoise(block, time),), x, self.block)
            x0 = x0 if clip is None else x0.clamp(*clip)
            unknown = _back(base, x, x0, t, before, self.noise)
            if before is None:
                return torch.where(mask, y, unknown)
            then = base.alpha_bar[before].to(x)
            known = then.sqrt() * y + (1 - then).sqrt() * self.noise.normal(*base.event_shape)
            moved = torch.where(mask, known, unknown)
            if again + 1 < _AGAIN:
                share = (base.alpha_bar[t] / base.alpha_bar[before]).to(x)
                x = share.sqrt() * moved + (1 - share).sqrt() * self.noise.normal(*base.event_shape)
        return moved
