"""How well a model's judgement tells its data from others: the area under the ROC curve."""

from __future__ import annotations

import math
from typing import Any, cast

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric
from dgmcore.interfaces import Critic
from dgmcore.sampling.settings import require_finite

from ..intervals import around, deviation
from ..real import blocks

__all__ = ["OUTSIDE", "auroc", "auroc_error", "ood_auroc"]

#: What stands outside, for each data set whose outside is at hand.
OUTSIDE = {"mnist": "fashion:test", "fashion": "mnist:test", "celeba64": "cifar10:test", "cifar10": "celeba64:test"}


def auroc(positive: Tensor, negative: Tensor) -> float:
    r"""Area under the ROC curve: the probability that a positive scores higher, ties counting a half.

    Arguments:
        positive: Scores `(n,)`; minus infinity is a score, below all others.
        negative: Scores `(m,)`.
    """

    place, counts = torch.unique(torch.cat([positive, negative]).double(), return_inverse=True, return_counts=True)[1:]
    rank = counts.cumsum(0).double() - (counts - 1) / 2  # mean rank of equal values, from 1
    n, m = len(positive), len(negative)
    return float((rank[place[:n]].sum() - n * (n + 1) / 2) / (n * m))


def auroc_error(positive: Tensor, negative: Tensor) -> float:
    """Returns the standard error of the area, by the shares that each score beats (DeLong et al., 1988, eq. 5)."""

    found = 0.0
    for own, other in ((positive.double(), negative.double()), (-negative.double(), -positive.double())):
        ordered = other.sort().values
        below, at_most = (torch.searchsorted(ordered, own, right=right) for right in (False, True))
        found += deviation((below + at_most).double() / (2 * len(other))) ** 2
    return math.sqrt(found)


def _outside(run: Run) -> str | None:
    return run.ood or OUTSIDE.get(run.entry.data.dataset)


def _judges(run: Run) -> bool:
    return run.model.can("critic") or run.model.can("density")


@metric(applies=lambda run: _judges(run) and _outside(run) is not None)
def ood_auroc(run: Run) -> Metric:
    """How well the model's judgement tells its data from others: the area under the ROC curve.

    The judgement is a critic's score, else the density.
    """

    if not _judges(run):
        raise UsageError(f"{run.entry.name} judges no data", "ood-auroc is for critics and densities")
    outside = _outside(run)
    if outside is None:
        raise UsageError(f"what is out of distribution for {run.entry.data.dataset}?", "name data with --ood DATA")
    judge = _scores if run.model.can("critic") else _log_likelihoods
    inside_values, outside_values = (judge(run, name, run.asked or 2000) for name in (run.against, outside))
    value = auroc(inside_values, outside_values)
    return run.record(
        "ood-auroc",
        value,
        interval=around(value, auroc_error(inside_values, outside_values)),
        unit="critic" if run.model.can("critic") else str(run.model.likelihood),
        n=len(outside_values),
        n_real=len(inside_values),
        against=f"{run.against} from {outside}",
        sampling=run.scoring,
    )


def _log_likelihoods(run: Run, name: str, n: int) -> Tensor:
    """The log-likelihoods of the first `n` data; what the model holds for impossible has minus infinity."""
    from dgmcore.sampling.scores import judgements

    given: dict[str, Any] = {"batch_size": run.batch_size, "seed": run.seed, "options": run.scoring_options}
    found = judgements(run.model, run.dataset(name, n), **given).values
    _require_numbers(found.where(found != -torch.inf, 0), name)
    return found


def _scores(run: Run, name: str, n: int) -> Tensor:
    """The critic's scores of the first `n` data."""

    model, dataset = cast(Critic, run.model), run.dataset(name, n)
    values = []
    for index in blocks(run, dataset, name, size=250):
        with torch.no_grad():
            values.append(model.score(dataset.take(index).to(run.model.device)).cpu())
    found = torch.cat(values)
    _require_numbers(found, name)
    return found


def _require_numbers(values: Tensor, name: str) -> None:
    require_finite(values, f"the judgements of {name}", "they can't be ranked: leave out ood-auroc")
