"""Accuracy of a classifier."""

from __future__ import annotations

from typing import Any

import torch

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric

from ..intervals import of_share
from ..real import blocks

__all__ = ["accuracy"]


@metric(can=["features"], applies=lambda run: hasattr(run.model, "logits"))
def accuracy(run: Run) -> Metric:
    """The share of test data that a classifier names rightly."""

    model: Any = run.model
    if not hasattr(model, "logits"):
        raise UsageError(f"{run.entry.name} is no classifier", "accuracy is for entries of the architecture classifier")
    dataset, right = run.dataset(run.against, run.asked), 0
    for index in blocks(run, dataset, "accuracy"):
        labels = dataset.labels(index)
        if labels is None:
            raise UsageError(f"{run.against} has no labels", "accuracy needs a labelled data set")
        with torch.no_grad():
            guesses = model.logits(dataset.take(index).to(model.device)).argmax(1).cpu()
        right += int((guesses == labels).sum())
    n = len(dataset)
    return run.record("accuracy", right / n, interval=of_share(right / n, n), n_real=n, against=run.against, seed=None)
