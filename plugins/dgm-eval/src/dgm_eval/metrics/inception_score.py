r"""Inception score: how clear and how varied a classifier finds samples.

References:
    Improved Techniques for Training GANs (Salimans et al., 2016)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, metric

from ..intervals import around, one_sided
from .comparison import has_classes, logits

__all__ = ["inception_score", "score_of_logits"]


def score_of_logits(logits: Tensor, *, splits: int = 10, seed: int = 0) -> tuple[float, float]:
    r"""Inception score :math:`\exp E_x KL(p(y|x) \| p(y))` of a classifier's logits `(n, classes)`.

    Returns:
        Mean and standard deviation over `splits` parts of the set (fewer where each had not 100 points), in a random
        order that `seed` gives.
    """

    splits = max(1, min(splits, len(logits) // 100))
    order = torch.randperm(len(logits), generator=torch.Generator().manual_seed(seed))
    values = []
    for part in logits.double()[order].chunk(splits):
        log_p = part.log_softmax(1)
        log_mean = log_p.logsumexp(0) - math.log(len(part))
        values.append((log_p.exp() * (log_p - log_mean)).sum(1).mean().exp())
    scores = torch.stack(values)
    return float(scores.mean()), float(scores.std()) if splits > 1 else 0.0


@metric(can=["generator"], views={logits: None}, applies=has_classes)
def inception_score(run: Run) -> Metric:
    """Inception score of a classifier of the data set; `floor` is the real data's, which is the most to hope for."""

    x = run.samples(logits)
    real = run.real(logits)[: len(x)]
    value, std = score_of_logits(x, seed=run.seed)
    about = {"n": len(x), "n_real": len(real), "against": run.against, "sampling": run.sampling}
    floor, _ = score_of_logits(real, seed=run.seed)
    error = one_sided(lambda some: score_of_logits(some, seed=run.seed)[0], x, seed=run.seed)
    about["interval"] = around(value, error, 20)
    return run.record("inception-score", value, std=std, floor=floor, **about, **run.extractor.fields())
