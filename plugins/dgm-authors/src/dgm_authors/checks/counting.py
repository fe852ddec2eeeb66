"""Checks on models of discrete data: probabilities over everything that there can be."""

from __future__ import annotations

import torch
from torch import Tensor

from dgmcore.interfaces import Likelihood

from ..subject import Subject
from .base import Skip, registry

CHECKS, check = registry()

_MOST = 4096


@check("density")
def probabilities_sum_to_one(it: Subject) -> None:
    """Over all data of a small alphabet probabilities sum to 1, a lower bound's to at most 1."""

    x = _states(it)
    kind = it.model.likelihood
    if kind is Likelihood.UNNORMALIZED:
        raise Skip("the density is unnormalised")
    with torch.no_grad():
        total = float(torch.cat([it.log_prob(part) for part in torch.split(x, 512)]).double().exp().sum())
    if kind is Likelihood.LOWER_BOUND:
        assert total <= 1.001, f"the lower bounds of all {len(x)} data sum to {total:.4f} > 1: it is no bound"
    else:
        within = 1e-3 if kind is Likelihood.EXACT else 2e-2  # an estimate has errors of its own
        assert abs(total - 1) <= within, f"the probabilities of all {len(x)} data sum to {total:.4f}"


def _states(it: Subject) -> Tensor:
    if it.model.base_measure != "counting":
        raise Skip("the density is no probability of discrete data")
    x = it.states(_MOST)
    if x is None:
        raise Skip(f"the data have no levels, or more than {_MOST} states")
    return x
