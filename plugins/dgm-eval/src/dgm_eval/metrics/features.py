"""The metrics that compare samples with real data."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import View, flat, metric

from ..run import Run
from . import distances

__all__ = ["accuracy", "energy_distance", "fid", "inception_score", "kid", "precision", "recall"]


def features(run: Run, x: Tensor) -> Tensor:
    """A view: the feature network's features, `(n, d)`."""
    return run.extractor.features(x)


def logits(run: Run, x: Tensor) -> Tensor:
    """A view: the classifier's logits, `(n, classes)`."""
    return run.extractor.logits(x)


def _has_features(run: Run) -> bool:
    return run.features_name is not None


def _has_classes(run: Run) -> bool:
    return _has_features(run) and run.extractor.is_classifier


def _compared(
    run: Run, name: str, view: View, compare: Callable[[Tensor, Tensor], float], **fields: Any
) -> dict[str, Any]:
    """Compares samples with real data, and real data with other real data, and says with how many."""

    x, y, other = run.samples(view), run.real(view), run.other(view)
    fields["floor"] = None if other is None else compare(other[: len(x)], y)
    about = {"n": len(x), "n_real": len(y), "against": run.against, "sampling": run.sampling}
    return {"name": name, "value": compare(x, y), **about, **fields}


@metric(can=["generator"], views={features: None}, applies=_has_features)
def fid(run: Run) -> Metric:
    """Fréchet distance of the features; lower is better."""

    return run.record(**_compared(run, "fid", features, distances.frechet, **run.extractor.fields()))


@metric(can=["generator"], views={features: None}, applies=_has_features)
def kid(run: Run) -> Metric:
    """Kernel distance of the features, unbiased in the number of samples; lower is better."""

    def mean(x: Tensor, y: Tensor) -> float:
        return distances.kernel_distance(x, y, seed=run.seed)[0]

    _, std = distances.kernel_distance(run.samples(features), run.real(features), seed=run.seed)
    return run.record(**_compared(run, "kid", features, mean, std=std, **run.extractor.fields()))


@metric(can=["generator"], views={logits: None}, applies=_has_classes)
def inception_score(run: Run) -> Metric:
    """Inception score of a classifier of the data set; `floor` is the real data's, which is the most to hope for."""

    value, std = distances.inception_score(run.samples(logits), seed=run.seed)
    real = run.real(logits)[: len(run.samples(logits))]
    return run.record(
        "inception-score",
        value,
        std=std,
        floor=distances.inception_score(real, seed=run.seed)[0],
        n=len(run.samples(logits)),
        n_real=len(real),
        against=run.against,
        sampling=run.sampling,
        **run.extractor.fields(),
    )


def _precision_and_recall(run: Run, which: int, name: str) -> Metric:
    def compare(x: Tensor, y: Tensor) -> float:
        key = ("precision-recall", x.data_ptr(), len(x))
        return run.once(key, lambda: distances.precision_recall(x, y))[which]

    return run.record(**_compared(run, name, features, compare, unit="share, k = 3", **run.extractor.fields()))


@metric(can=["generator"], views={features: None}, applies=_has_features)
def precision(run: Run) -> Metric:
    """The share of samples within the real data's manifold; higher is better."""

    return _precision_and_recall(run, 0, "precision")


@metric(can=["generator"], views={features: None}, applies=_has_features)
def recall(run: Run) -> Metric:
    """The share of real data within the samples' manifold; higher is better."""

    return _precision_and_recall(run, 1, "recall")


@metric(can=["generator"], views={flat: 4000})
def energy_distance(run: Run) -> Metric:
    """Energy distance of the data themselves, images in [0, 1]; lower is better; depends on the number of points."""

    fields = _compared(run, "energy-distance", flat, distances.energy_distance, unit="eps 0.1 in the root")
    return run.record(**fields)


@metric(can=["features"], applies=lambda run: hasattr(run.model, "logits"))
def accuracy(run: Run) -> Metric:
    """The share of test data that a classifier names rightly."""

    if not hasattr(run.model, "logits"):
        raise UsageError(f"{run.entry.name} is no classifier", "accuracy is for entries of the architecture classifier")
    dataset = run.dataset(run.against, run.asked)
    index = torch.arange(len(dataset)).numpy()
    right = 0
    with torch.no_grad(), run.progress("accuracy", len(index)) as advance:
        for start in range(0, len(index), 500):
            block = index[start : start + 500]
            labels = dataset.labels(block)
            if labels is None:
                raise UsageError(f"{run.against} has no labels", "accuracy needs a labelled data set")
            guesses = run.model.logits(dataset.take(block).to(run.model.device)).argmax(1).cpu()
            right += int((guesses == labels).sum())
            advance(len(block))
    return run.record("accuracy", right / len(index), n_real=len(index), against=run.against, seed=None)
