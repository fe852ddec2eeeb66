"""The metrics that ask the model about real data: likelihood, reconstruction, and what it takes for strange."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.extractor import unit
from dgmcore.evaluation.metric import metric
from dgmcore.interfaces import Likelihood

from ..run import Run
from .distances import auroc

__all__ = ["bits_per_dim", "log_normaliser", "nll", "ood_auroc", "reconstruction"]

#: What stands outside, for each data set whose outside is at hand.
OUTSIDE = {"mnist": "fashion:test", "fashion": "mnist:test", "celeba64": "cifar10:test", "cifar10": "celeba64:test"}


def _scores(run: Run) -> Any:
    """The model's log-likelihoods of the real data: all of the split, or as many as are asked for."""
    from dgmcore.sampling.scores import score

    def compute() -> Any:
        data = run.dataset(run.against, run.asked)
        with run.progress("likelihood", len(data)) as advance:
            return score(
                run.model,
                data,
                batch_size=run.batch_size,
                seed=run.seed,
                watch=lambda values: advance(len(values)),
                **run.scoring_options,
            )

    return run.once("scores", compute)


def _about(run: Run, n: int) -> dict[str, Any]:
    return {"n_real": n, "against": run.against, "sampling": run.scoring}


def _is_plane(run: Run) -> bool:
    return tuple(run.model.event_shape) == (2,)


def _has_value(run: Run) -> bool:
    """Whether its log_prob means something as it is, or can be normalised."""
    return run.model.likelihood is not Likelihood.UNNORMALIZED or _is_plane(run)


@metric(can=["density"], applies=_has_value)
def nll(run: Run) -> Metric:
    """Negative log-likelihood of the real data in nats; an unnormalised model of the plane is normalised on a grid."""

    kind, offset = run.model.likelihood, 0.0
    if kind is Likelihood.UNNORMALIZED:
        if not _is_plane(run):
            raise UsageError(
                f"{run.entry.name} is unnormalised, so its log-likelihood is known up to a constant only",
                "use --metric ood-auroc, or `dgm score`",
            )
        offset = log_normaliser(run)
    scores = _scores(run)
    how = f"{kind.value}" if not offset else f"log Z = {offset:.4f} on a grid"
    value, error = offset - scores.mean, scores.std / math.sqrt(scores.n)
    return run.record("nll", value, unit=f"nats, {how}", std=error, **_about(run, scores.n))


@torch.no_grad()
def log_normaliser(run: Run, cells: int = 500, margin: float = 0.5) -> float:
    r"""Returns :math:`\log \int \exp(\log \tilde p(x))\, dx` over the plane, by the midpoint rule.

    The square is that of the real data, larger by `margin` times its half width on each side.
    """

    def edge() -> tuple[Tensor, float]:
        dataset = run.dataset(run.against, 10_000)
        x = dataset.take(torch.arange(len(dataset)).numpy())
        centre = (x.amax(0) + x.amin(0)) / 2
        return centre, float((x - centre).abs().max()) * (1 + margin)

    centre, half = edge()
    step = 2 * half / cells
    line = torch.linspace(-half + step / 2, half - step / 2, cells)
    grid = (torch.cartesian_prod(line, line) + centre).to(run.model.device, run.model.dtype)
    total = []
    with run.progress("log Z", len(grid)) as advance:
        for block in grid.split(5000):
            total.append(run.model.log_prob(block, **run.scoring_options).double().cpu())
            advance(len(block))
    return float(torch.cat(total).logsumexp(0)) + 2 * math.log(step)


def _has_bits(run: Run) -> bool:
    normalised = run.model.likelihood is not Likelihood.UNNORMALIZED and run.model.base_measure is not None
    return normalised and run.entry.data.levels is not None


@metric(can=["density"], applies=_has_bits)
def bits_per_dim(run: Run) -> Metric:
    """Bits per dimension of the data's own levels."""

    scores = _scores(run)
    if scores.bits_per_dim is None:
        raise UsageError(
            f"{run.entry.name} has no bits per dimension: no data with levels, or no normalised density of them",
            "use --metric nll",
        )
    return run.record("bits-per-dim", scores.bits_per_dim, unit=f"bits, {scores.kind}", **_about(run, scores.n))


@metric(can=["encoder"])
def reconstruction(run: Run) -> Metric:
    """Mean squared error of reconstructions, for each dimension; images are compared in [0, 1]."""

    total, n = 0.0, 0
    dataset = run.dataset(run.against, run.asked)
    size = len(dataset)
    with torch.no_grad(), run.progress("reconstruction", size) as advance:
        for start in range(0, size, 500):
            x = dataset.take(torch.arange(start, min(start + 500, size)).numpy()).to(run.model.device)
            back = run.model.decode(run.model.encode(x))
            total += float(
                (unit(x, run.entry.data) - unit(back, run.entry.data)).double().square().flatten(1).mean(1).sum()
            )
            n += len(x)
            advance(len(x))
    where = "in [0, 1]" if run.entry.data.range else "in the data's own units"
    return run.record("reconstruction", total / n, unit=f"mean squared error {where}", n_real=n, against=run.against)


def _judges(run: Run) -> bool:
    return bool(run.ood or OUTSIDE.get(run.entry.data.dataset)) and (
        run.model.can("critic") or run.model.can("density")
    )


@metric(applies=_judges)
def ood_auroc(run: Run) -> Metric:
    """How well the model's judgement tells its data from others: the area under the ROC curve.

    The judgement is a critic's score, else the density.
    """

    outside = run.ood or OUTSIDE.get(run.entry.data.dataset)
    if not (run.model.can("critic") or run.model.can("density")):
        raise UsageError(f"{run.entry.name} judges no data", "ood-auroc is for critics and densities")
    if outside is None:
        raise UsageError(f"what is out of distribution for {run.entry.data.dataset}?", "name data with --ood DATA")
    n = run.asked or 2000
    inside_scores, outside_scores = (_judgements(run, name, n) for name in (run.against, outside))
    return run.record(
        "ood-auroc",
        auroc(inside_scores, outside_scores),
        unit="critic" if run.model.can("critic") else str(run.model.likelihood.value),
        n=len(outside_scores),
        n_real=len(inside_scores),
        against=f"{run.against} from {outside}",
        sampling=run.scoring,
    )


@torch.no_grad()
def _judgements(run: Run, name: str, n: int) -> Tensor:
    """The critic's score of the first `n` data, else their log-likelihood."""
    from dgmcore.sampling.scores import score

    data = run.dataset(name, n)
    if not run.model.can("critic"):
        return score(run.model, data, batch_size=run.batch_size, seed=run.seed, **run.scoring_options).values
    values = []
    with run.progress(name, len(data)) as advance:
        for at in range(0, len(data), 250):
            x = data.take(torch.arange(at, min(at + 250, len(data))).numpy())
            values.append(run.model.score(x.to(run.model.device)).cpu())
            advance(len(x))
    return torch.cat(values)
