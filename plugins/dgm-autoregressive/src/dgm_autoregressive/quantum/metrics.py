"""Metrics of models of measurements, against the state that was measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric

from .observables import exact, reconstructed
from .tfim import MOST_COUNTED, TFIM

__all__ = ["classical_fidelity", "kl_exact", "observables"]

_BLOCK = 4096


def measured(run: Run) -> TFIM | None:
    """Returns the data set of a run whose data are measurements of a chain, else None."""

    if run.entry.data.dataset != "tfim":
        return None
    dataset: Any = run.dataset(run.against)
    while not isinstance(dataset, TFIM) and hasattr(dataset, "base"):
        dataset = dataset.base  # a view of it
    return dataset if isinstance(dataset, TFIM) else None


def _needed(run: Run, name: str) -> TFIM:
    data = measured(run)
    if data is None:
        raise UsageError(
            f"{run.entry.data.dataset} are no measurements of a known state", f"{name} is for the data set tfim"
        )
    return data


def _countable(run: Run) -> bool:
    data = measured(run)
    return data is not None and data.sites <= MOST_COUNTED


def _log_probabilities(run: Run) -> tuple[np.ndarray, np.ndarray]:
    """Returns the exact probabilities of all outcomes, and the logarithms of the model's."""

    data = _needed(run, "classical-fidelity")
    exactly = data.probabilities

    @torch.no_grad()
    def compute() -> np.ndarray:
        blocks = data.all_outcomes().to(run.model.device, run.model.dtype).split(_BLOCK)
        return torch.cat([run.model.log_prob(x).double().cpu() for x in blocks]).numpy()

    return exactly, run.once("log-probabilities", compute)


def _about(run: Run, outcomes: int) -> dict[str, Any]:
    return {"n": outcomes, "against": run.against}


@metric(can=["density"], applies=_countable)
def classical_fidelity(run: Run) -> Metric:
    r"""How alike the probabilities of outcomes are, :math:`\sum_a \sqrt{P(a) P_\theta(a)}`: 1 if they are equal."""

    p, log_q = _log_probabilities(run)
    value = float(np.sqrt(p) @ np.exp(0.5 * log_q))
    return run.record("classical-fidelity", value, unit=f"sum over all {len(p)} outcomes", **_about(run, len(p)))


@metric(can=["density"], applies=_countable)
def kl_exact(run: Run) -> Metric:
    r"""KL divergence of the model from the measured state, :math:`\sum_a P(a) \log (P(a) / P_\theta(a))`, in nats."""

    p, log_q = _log_probabilities(run)
    some = p > 0
    value = float(p[some] @ (np.log(p[some]) - log_q[some]))
    return run.record("kl-exact", value, unit=f"nats, sum over all {len(p)} outcomes", **_about(run, len(p)))


def symbols(run: Run, x: Tensor) -> Tensor:
    """A view: the outcomes, int8 `(n, sites)`."""

    low, high = run.entry.data.range or (0.0, 3.0)
    return ((x - low) * (3 / (high - low))).round().to(torch.int8)


@metric(can=["generator"], views={symbols: 100_000}, applies=lambda run: measured(run) is not None)
def observables(run: Run) -> list[Metric]:
    """Energy, magnetisations and zz correlations of the state that samples are measurements of, beside the exact ones.

    `std` is the standard error of the samples' mean.
    """

    data = _needed(run, "observables")
    outcomes = run.samples(symbols).numpy()
    right = exact(data)
    return [
        run.record(
            name,
            value,
            std=error,
            interval=(value - 1.96 * error, value + 1.96 * error),
            unit=f"exact {right[name]:.6g}, {abs(value - right[name]) / error:.1f} standard errors away",
            n=len(outcomes),
            against=run.against,
            sampling=run.sampling,
        )
        for name, (value, error) in reconstructed(data, outcomes).items()
    ]
