"""Whether the chains of a model's sampler have mixed, as a metric.

The intervals are jackknifed over chains, which are independent whatever happens within each: both figures are found
again without a twentieth of the chains in turn, the effective size on the scale of its logarithm.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric
from dgmcore.noise import IndexedNoise

from .chains import effective_size, r_hat
from .chains.posterior import viewed

__all__ = ["mixing"]

_CHAINS = 64
_SHORTEST = 8
_GROUPS = 20


@metric(can=["trajectory"], applies=lambda run: False)
def mixing(run: Run) -> list[Metric]:
    """R-hat and the effective sample size of the second half of 64 of the sampler's chains.

    Raises:
        UsageError: If the model's sampler is no Markov chain, or too short.
    """

    model = run.model
    if not hasattr(model, "chain"):
        raise UsageError("the model's sampler is no Markov chain", "r-hat is for energy-based and tilted models")
    n = min(run.n, _CHAINS)
    noise = IndexedNoise.of(model, run.seed, n)
    views = []
    with torch.no_grad():
        for x in model.trajectory(noise, **run.sampling):
            views.append(viewed(x).double().cpu())
    draws = torch.stack(views[(len(views) + 1) // 2 :], 1) if views else torch.empty(n, 0, 1)
    if draws.shape[1] < _SHORTEST:
        raise UsageError(f"half a chain of {len(views)} states says nothing", "take more steps: --set steps=100")
    protocol = f"{n} chains of {draws.shape[1]} states, the second half of each"
    mixed, independent = _worst_r_hat(draws), _least_size(draws)
    half = interval_half(_worst_r_hat, draws)
    factor = interval_half(lambda some: math.log(_least_size(some)), draws)
    intervals = (
        None if half is None else (mixed - half, mixed + half),
        None if factor is None else (independent * math.exp(-factor), independent * math.exp(factor)),
    )
    return [
        run.record(name, value, unit=protocol, interval=interval)
        for name, value, interval in zip(("r-hat", "ess"), (mixed, independent), intervals, strict=True)
    ]


def _worst_r_hat(draws: Tensor) -> float:
    return max(r_hat(column) for column in draws.unbind(2))


def _least_size(draws: Tensor) -> float:
    return min(effective_size(column) for column in draws.unbind(2))


def interval_half(statistic: Callable[[Tensor], float], chains: Tensor) -> float | None:
    """Returns half the width of a statistic's interval, 95 %, jackknifed over chains `(n, ...)` in up to 20 groups.

    None where nothing can be said: of one chain, and where the statistic is infinite.
    """

    groups = min(_GROUPS, len(chains))
    if groups < 2:
        return None
    order = torch.randperm(len(chains), generator=torch.Generator().manual_seed(0))
    without = [torch.cat([order[i::groups] for i in range(groups) if i != j]) for j in range(groups)]
    found = torch.tensor([statistic(chains[kept]) for kept in without], dtype=torch.float64)
    error = math.sqrt((groups - 1) / groups * float((found - found.mean()).square().sum()))
    z, free = 1.96, groups - 1
    student = z + (z**3 + z) / (4 * free) + (5 * z**5 + 16 * z**3 + 3 * z) / (96 * free**2)
    return student * error if math.isfinite(error) else None
