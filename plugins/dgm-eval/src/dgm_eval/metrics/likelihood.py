"""The metrics of likelihood: nats of real data, and bits per dimension of their levels."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric
from dgmcore.interfaces import Density, Likelihood

from ..intervals import around

if TYPE_CHECKING:
    from dgmcore.sampling.scores import Scores

__all__ = ["bits_per_dim", "log_normaliser", "nll"]


def _scores(run: Run) -> Scores:
    """The model's log-likelihoods of the real data: all of the split, or as many as are asked for."""
    from dgmcore.sampling.scores import score

    def compute() -> Scores:
        data = run.dataset(run.against, run.asked)
        with run.progress("likelihood", len(data)) as advance:
            return score(
                run.model,
                data,
                batch_size=run.batch_size,
                seed=run.seed,
                watch=lambda values: advance(len(values)),
                options=run.scoring_options,
            )

    return run.once("scores", compute)


def _about(run: Run, n: int) -> dict[str, Any]:
    return {"n_real": n, "against": run.against, "sampling": run.scoring}


def _likelihood(run: Run) -> Likelihood:
    return cast(Density, run.model).likelihood


def _is_plane(run: Run) -> bool:
    return tuple(run.model.event_shape) == (2,)


def _has_value(run: Run) -> bool:
    """Whether its log_prob means something as it is, or can be normalised."""
    return _likelihood(run) is not Likelihood.UNNORMALIZED or _is_plane(run)


@metric(can=["density"], applies=_has_value)
def nll(run: Run) -> Metric:
    """Negative log-likelihood of the real data in nats; an unnormalised model of the plane is normalised on a grid."""

    if not _has_value(run):
        raise UsageError(
            f"{run.entry.name} is unnormalised, so its log-likelihood is known up to a constant only",
            "use --metric ood-auroc, or `dgm score`",
        )
    kind, offset = _likelihood(run), 0.0
    if kind is Likelihood.UNNORMALIZED:
        offset = log_normaliser(run)
    scores = _scores(run)
    how = f"{kind.value}" if not offset else f"log Z = {offset:.4f} on a grid"
    value, error = offset - scores.mean, scores.std / math.sqrt(scores.n)
    about = {"unit": f"nats, {how}", "std": error, "interval": around(value, error)}
    return run.record("nll", value, **about, **_about(run, scores.n))


@torch.no_grad()
def log_normaliser(run: Run, cells: int = 500, margin: float = 0.5) -> float:
    r"""Returns :math:`\log \int \exp(\log \tilde p(x))\, dx` over the plane, by the midpoint rule.

    The square is that of the real data, larger by `margin` times its half width on each side.
    """

    density = cast(Density, run.model)
    centre, half = _square(run, margin)
    step = 2 * half / cells
    line = torch.linspace(-half + step / 2, half - step / 2, cells)
    grid = (torch.cartesian_prod(line, line) + centre).to(run.model.device, run.model.dtype)
    total = []
    with run.progress("log Z", len(grid)) as advance:
        for block in torch.split(grid, 5000):
            total.append(density.log_prob(block, **run.scoring_options).double().cpu())
            advance(len(block))
    return float(torch.cat(total).logsumexp(0)) + 2 * math.log(step)


def _square(run: Run, margin: float) -> tuple[Tensor, float]:
    """The centre of the real data's square, and half its side with the margin."""

    dataset = run.dataset(run.against, 10_000)
    x = dataset.take(np.arange(len(dataset)))
    centre = (x.amax(0) + x.amin(0)) / 2
    return centre, float((x - centre).abs().max()) * (1 + margin)


def _has_bits(run: Run) -> bool:
    normalised = _likelihood(run) is not Likelihood.UNNORMALIZED and run.model.base_measure is not None
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
    # levels that were dequantised: the density is exact, and the probability of the levels is bounded by it
    kind = "lower_bound" if scores.dequantized and scores.kind == "exact" else scores.kind
    error = scores.std / math.sqrt(scores.n) / (math.log(2) * math.prod(run.model.event_shape))
    about = {"unit": f"bits, {kind}", "interval": around(scores.bits_per_dim, error)}
    return run.record("bits-per-dim", scores.bits_per_dim, **about, **_about(run, scores.n))
