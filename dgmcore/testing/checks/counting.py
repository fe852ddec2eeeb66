"""Checks on models of discrete data: probabilities over everything that there can be."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ...interfaces import Likelihood
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
        assert abs(total - 1) <= 1e-3, f"the probabilities of all {len(x)} data sum to {total:.4f}"


@check("density")
def conditionals_look_back_only(it: Subject) -> None:
    """`conditionals` are distributions, make up `log_prob`, and depend on nothing that comes later in `order`."""

    conditionals = getattr(it.model, "conditionals", None)
    if conditionals is None:
        raise Skip("the model has no conditionals")
    if it.levels is None or it.range is None:
        raise Skip("the levels of the data are not known")
    size = math.prod(it.shape)
    order = [int(i) for i in getattr(it.model, "order", range(size))]
    values = torch.linspace(*it.range, it.levels, dtype=it.model.dtype, device=it.model.device)
    index = it.noise(4).integers(it.levels, size, name="levels")
    x = values[index].reshape(4, *it.shape)
    with torch.no_grad():
        table = _table(it, x, conditionals)
        total = table.exp().sum(-1)
        assert torch.allclose(total, torch.ones_like(total), atol=1e-3), "the conditionals do not sum to 1"
        own = table.gather(-1, index[..., None]).squeeze(-1).sum(1)
        gap = float((own - it.log_prob(x)).abs().max())
        assert gap <= 1e-3 * size, f"log_prob is not the sum of the conditionals: it differs by {gap:.2g} nats"
        for place, j in enumerate(order):
            moved = index.clone()
            moved[:, j] = (moved[:, j] + 1) % it.levels
            other = _table(it, values[moved].reshape(4, *it.shape), conditionals)
            seen = [i for i in order[: place + 1] if not torch.allclose(table[:, i], other[:, i], atol=1e-5)]
            assert not seen, f"entry {j} changes the distribution of entry {seen[0]}, which comes no later"


def _table(it: Subject, x: Tensor, conditionals: object) -> Tensor:
    """Returns the conditional log-probabilities, `(n, d, levels)`."""

    table: Tensor = conditionals(x)  # type: ignore[operator]
    wanted = (len(x), *it.shape, it.levels)
    assert tuple(table.shape) == wanted, f"conditionals have shape {tuple(table.shape)}, not {wanted}"
    return table.reshape(len(x), math.prod(it.shape), -1)


def _states(it: Subject) -> Tensor:
    if it.model.base_measure != "counting":
        raise Skip("the density is no probability of discrete data")
    x = it.states(_MOST)
    if x is None:
        raise Skip(f"the data have no levels, or more than {_MOST} states")
    return x
