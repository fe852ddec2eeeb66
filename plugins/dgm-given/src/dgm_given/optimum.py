r"""Optima: the noise at which a posterior is largest, and the inversion of models without an encoder.

References:
    [1] Generative Visual Manipulation on the Natural Image Manifold (Zhu et al., 2016), https://arxiv.org/abs/1609.03552
    [2] Adam: A Method for Stochastic Optimization (Kingma & Ba, 2015), https://arxiv.org/abs/1412.6980
    [3] Randomize-Then-Optimize (Bardsley, Solonen, Haario & Laine, 2014), https://doi.org/10.1137/140964023
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from dgmcore.compose import step_frozen, tilt
from dgmcore.errors import UsageError
from dgmcore.interfaces import Pushforward
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.settings import model_name

from .chains.posterior import Posterior
from .chains.state import State
from .observation import Nothing, Observation

__all__ = ["descent", "invert"]

_CANDIDATES = 32


def descent(
    target: Posterior, state: State, steps: int, rate: float = 0.1, towards: Tensor | float = 0.0
) -> Iterator[State]:
    r"""Yields the states of Adam [2] on :math:`|\epsilon - t|^2 / 2 + \lambda \Phi`, lambda growing to 1.

    Elementwise, with the gradient of the sum: no sample depends on another. With t = 0 the end is an optimum. Where t
    are draws of the prior, what is not seen stays as they have it [3].
    """

    eps, first, second = state.eps, torch.zeros_like(state.eps), torch.zeros_like(state.eps)
    heats = (eps.shape[1] / state.phi.abs().clamp(min=1.0)).clamp(max=1.0)[:, None]
    for k in range(steps):
        heat = heats ** max(0.0, 1 - 2 * (k + 1) / steps)
        assert state.slope is not None
        drift = state.eps - towards + heat * state.slope
        first = 0.9 * first + 0.1 * drift
        second = 0.99 * second + 0.01 * drift.square()
        size = rate * 0.5 * (1 + math.cos(math.pi * k / steps))
        step = (first / (1 - 0.9 ** (k + 1))) / ((second / (1 - 0.99 ** (k + 1))).sqrt() + 1e-8)
        state = target.evaluate(state.eps - size * step, slopes=True)
        yield state


def invert(model: Model, x: Tensor, *, steps: int = 200, sigma: float | None = None, seed: int = 0) -> Tensor:
    """Returns what a model without an encoder makes closest to data, `(n, *event_shape)`; the core's `invert`.

    Arguments:
        model: A pushforward.
        x: The data.
        steps: Steps of Adam, from the best of some draws.
        sigma: The distance that costs as much as a standard normal noise of 1; None: 0.05, or 2.5 % of the range.
        seed: Of the draws.

    Raises:
        UsageError: If the model is no pushforward.
    """

    if not isinstance(model, Pushforward):
        raise UsageError(
            f"{model_name(model)} can't be inverted: it is no function of noise", "dgm list --can pushforward"
        )
    x = x.to(model.device, model.dtype)
    if sigma is None:
        limits = model.entry.data.range if model.entry is not None else None
        sigma = 0.05 if limits is None else 0.025 * (limits[1] - limits[0])
    found = []
    base = tilt(model, Nothing())
    like: dict[str, Any] = {"device": x.device, "dtype": x.dtype, "version": model.noise_version}
    for i, datum in enumerate(x):
        seen = Observation(datum.detach().cpu(), sigma=sigma).fit(model)
        target = Posterior(base, [seen.score], block=_CANDIDATES)
        noise = IndexedNoise(seed, _CANDIDATES, i * _CANDIDATES, **like)
        phi = target.checked(target.evaluate(start := target.draw(noise))).phi
        target.block = 1
        first = target.evaluate(start[phi.argmin()][None], slopes=True)
        last = deque(step_frozen(descent(target, first, steps), model), maxlen=1).pop()
        found.append(target.data(last.eps))
    return torch.cat(found) if found else x
