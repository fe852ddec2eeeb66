"""Checks on models of discrete data: probabilities over everything that there can be."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from dgmcore.interfaces import Likelihood

from ..subject import Subject, rebuild
from .base import Skip, registry

CHECKS, check = registry()

_MOST = 4096


@check("density")
def probabilities_sum_to_one(it: Subject) -> None:
    """Over all data of a small alphabet probabilities sum to 1, a lower bound's to at most 1."""

    if it.model.base_measure != "counting":
        raise Skip("the density is no probability of discrete data")
    kind = it.model.likelihood
    if kind is Likelihood.UNNORMALIZED:
        raise Skip("the density is unnormalised")
    it, x = _few_states(it)
    with torch.no_grad():
        total = float(torch.cat([it.log_prob(part) for part in torch.split(x, 512)]).double().exp().sum())
    if kind is Likelihood.LOWER_BOUND:
        assert total <= 1.001, f"the lower bounds of all {len(x)} data sum to {total:.4f} > 1: it is no bound"
    else:
        within = 1e-3 if kind is Likelihood.EXACT else 2e-2  # an estimate has errors of its own
        assert abs(total - 1) <= within, f"the probabilities of all {len(x)} data sum to {total:.4f}"


def _few_states(it: Subject) -> tuple[Subject, Tensor]:
    """Returns a subject with all of its data: the model itself, or an untrained one like it of smaller data."""

    for small in (it, *_smaller(it)):
        x = small.states(_MOST)
        if x is not None:
            return small, x
    raise Skip(
        f"the data have no levels, or more than {_MOST} states: with a small `example` it could be seen whether their "
        "probabilities sum to 1"
    )


def _smaller(it: Subject) -> Iterator[Subject]:
    """Yields models of the same class and config with an `event_shape` of fewer entries, where the config has one."""

    if it.model.parts or "event_shape" not in it.model.config_dict():
        return
    first, rank = it.shape[0], len(it.shape)
    shapes = {1: [(6,), (4,), (2,), (1,)], 3: [(c, side, side) for side in (3, 2, 1) for c in {first: 0, 1: 0}]}
    for shape in shapes.get(rank, []):
        try:
            small = it.of(rebuild(it.model, event_shape=list(shape)).to(it.model.device, it.model.dtype).eval())
            small.log_prob(small.data(2))
        except Exception:  # a model of some sizes only, and not of this one
            continue
        yield small
