"""Whether the chains of a model's sampler have mixed, as a metric."""

from __future__ import annotations

import torch

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric
from dgmcore.noise import IndexedNoise

from .chains import effective_size, r_hat
from .chains.posterior import viewed

__all__ = ["mixing"]

_CHAINS = 64
_SHORTEST = 8


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
    noise = IndexedNoise(run.seed, n, device=model.device, dtype=model.dtype)
    views = []
    with torch.no_grad():
        for x in model.trajectory(noise, **run.sampling):
            views.append(viewed(x).double().cpu())
    draws = torch.stack(views[(len(views) + 1) // 2 :], 1) if views else torch.empty(n, 0, 1)
    if draws.shape[1] < _SHORTEST:
        raise UsageError(f"half a chain of {len(views)} states says nothing", "take more steps: --set steps=100")
    columns = draws.unbind(2)
    protocol = f"{n} chains of {draws.shape[1]} states, the second half of each"
    return [
        run.record("r-hat", max(r_hat(c) for c in columns), unit=protocol),
        run.record("ess", min(effective_size(c) for c in columns), unit=protocol),
    ]
