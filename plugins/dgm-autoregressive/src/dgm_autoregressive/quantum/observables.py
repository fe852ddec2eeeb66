"""Expectations of operators, as means over outcomes: what the dual frame of a measure makes of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from .ising import bonds
from .povm import PAULI
from .tfim import TFIM

__all__ = ["Estimate", "exact", "reconstructed"]

_ROUNDING = 1e-12


class Estimate(NamedTuple):
    """A mean over outcomes, with its standard error."""

    value: float
    error: float


def exact(data: TFIM) -> dict[str, float]:
    r"""Returns the exact observables of a chain's ground state.

    They are `energy` in units of J, `magnetisation-x` and `magnetisation-z`, means over sites, and for each distance
    r `correlation-zz-r`, the mean of :math:`\langle \sigma^z_i \sigma^z_{i+r} \rangle` over the pairs at that distance.
    """

    e = data.expectations
    found = {"energy": data.energy, "magnetisation-x": e["x"].mean(), "magnetisation-z": e["z"].mean()}
    found |= {f"correlation-zz-{r}": np.diagonal(e["zz"], r).mean() for r in range(1, data.sites)}
    return {name: float(value) if abs(value) > _ROUNDING else 0.0 for name, value in found.items()}


def reconstructed(data: TFIM, outcomes: np.ndarray) -> dict[str, Estimate]:
    """Returns the observables of :func:`exact` as means over outcomes `(n, sites)`, integers."""

    x, z = (data.povm.values(PAULI[k])[outcomes] for k in "xz")
    neighbours = sum((z[:, i] * z[:, j] for i, j in bonds(data.sites, data.periodic)), np.zeros(len(z)))
    values = {
        "energy": -neighbours - data.h * x.sum(1),
        "magnetisation-x": x.mean(1),
        "magnetisation-z": z.mean(1),
        **{f"correlation-zz-{r}": (z[:, :-r] * z[:, r:]).mean(1) for r in range(1, data.sites)},
    }
    return {name: Estimate(float(v.mean()), float(v.std(ddof=1)) / math.sqrt(len(v))) for name, v in values.items()}
