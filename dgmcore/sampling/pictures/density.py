"""The model's density behind points of the plane, measured within a time, and only where it is no noise."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from itertools import pairwise
from typing import cast

import numpy as np
import torch
from torch import Tensor

from ...interfaces import Density, Likelihood
from ...model import Model
from ...noise import IndexedNoise
from .. import provenance
from .scatter import Window

__all__ = ["SECONDS", "density_behind", "density_of"]

#: What measuring a density may take.
SECONDS = 2.0
GRIDS = (128, 64)  # points a side, the better first
BLOCK = 4096  # points at once
PROBES = (4, 64, 256)  # points that are measured first, and timed

_SPECKLES = 0.1  # nats between two measurements of one point: a bound that is noisier is not drawn

LogProb = Callable[[Tensor], Tensor]


def density_behind(model: Model, window: Window, seconds: float = SECONDS) -> np.ndarray | None:
    """Returns a model's density on a window, as :func:`density_of`.

    None where it has none that can be shown: what is measured by random numbers differs from point to point, and what
    takes longer than `seconds` is left out.
    """
    if tuple(model.event_shape) != (2,) or not model.can("density"):
        return None
    log_prob = _log_prob(model)
    grid = provenance.known("density")
    if grid is None:
        grid = _grid_within(log_prob, window, seconds) or 0
        provenance.add(density=grid)  # another machine, or this one at another time, would choose otherwise
    return None if not grid or _is_noisy(model, window) else density_of(log_prob, window, grid)


def density_of(log_prob: LogProb, window: Window, grid: int = GRIDS[0]) -> np.ndarray | None:
    """Returns the density on a window, `(grid, grid)`, rows from the top, divided by its maximum; None if that is 0.

    Arguments:
        log_prob: Maps points `(m, 2)` to `(m,)` nats, up to a constant.
        window: The square.
        grid: Points a side, at the centres of the cells.
    """
    centres = (torch.arange(grid) + 0.5) / grid * window.side
    y, x = torch.meshgrid(window.y + centres.flip(0), window.x + centres, indexing="ij")
    with torch.no_grad():
        values = torch.cat([log_prob(p) for p in torch.split(torch.stack([x, y], -1).view(-1, 2), BLOCK)])
    values = values.double().nan_to_num(nan=-math.inf, neginf=-math.inf)
    if not values.max().isfinite():
        return None
    density: np.ndarray = (values - values.max()).exp().view(grid, grid).float().numpy()
    return density


def _log_prob(model: Model, seed: int = 0) -> LogProb:
    """The log-likelihood of points, with noise where it takes some."""
    density = cast(Density, model)

    def log_prob(points: Tensor) -> Tensor:
        x = points.to(model.device, model.dtype)
        if _takes_noise(model):
            noise = IndexedNoise.of(model, seed, len(x))
            return density.log_prob(x, noise=noise).cpu()
        return density.log_prob(x).cpu()

    return log_prob


def _takes_noise(model: Model) -> bool:
    return cast(Density, model).likelihood in (Likelihood.LOWER_BOUND, Likelihood.ESTIMATE)


def _some(window: Window, n: int) -> Tensor:
    """Points of the window, the same each time."""
    place = IndexedNoise(0, n).uniform(2)
    return torch.tensor([window.x, window.y]) + window.side * place


def _is_noisy(model: Model, window: Window) -> bool:
    if not _takes_noise(model):
        return False
    points = _some(window, PROBES[1])
    with torch.no_grad():
        one, two = (_log_prob(model, seed)(points) for seed in (0, 1))
    return not bool((one - two).abs().nan_to_num(0).max() < _SPECKLES)


def _grid_within(log_prob: LogProb, window: Window, seconds: float) -> int | None:
    """Returns the finest grid that is measured within a time, by the time that a few points take; None if none is.

    The time is that of this thread, so a machine that is busy with other things changes no picture.
    """
    start, took = time.thread_time(), dict.fromkeys(PROBES, 0.0)
    call = each = 0.0  # what a call takes, and a point
    for before, n in pairwise((0, *PROBES)):  # the first call may import and compile
        if call + n * each > seconds - (time.thread_time() - start):
            return None
        began = time.thread_time()
        with torch.no_grad():
            log_prob(_some(window, n))
        took[n] = time.thread_time() - began
        if before:
            each = max(0.0, took[n] - took[before]) / (n - before)
            call = max(0.0, took[n] - n * each)
    left = seconds - (time.thread_time() - start)
    return next((g for g in GRIDS if math.ceil(g * g / BLOCK) * call + g * g * each <= left), None)
