r"""The Fréchet distance of infinitely many points, and of each class.

References:
    Effectively Unbiased FID and Inception Score and where to find them (Chong & Forsyth, 2020), sections 3.1 and 4
"""

from __future__ import annotations

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, metric

from ..intervals import grouped, of_squared
from ..metrics.comparison import features, has_features, logits, protocol
from ..metrics.fid import frechet, groups_for

__all__ = ["extrapolated", "fid_infinity", "fid_per_class"]

SIZES = 15


def extrapolated(x: Tensor, y: Tensor, sizes: int = SIZES) -> float:
    r"""Returns the Fréchet distance of infinitely many points, from samples `(n, d)` and real data `(m, d)`.

    The distance of k samples and k real data is :math:`a + b / k` to first order. It is measured for `sizes` numbers
    between a fifth of the points and all of them, evenly spaced, each time for the first k, and the line's value at
    :math:`1/k = 0` is returned. So the points must be in no order.

    Raises:
        UsageError: If a fifth of the points does not span the features.
    """

    n = min(len(x), len(y))
    if n // 5 < 2 * x.shape[1]:
        raise UsageError(
            f"fid-infinity needs {10 * x.shape[1]:,} samples and as many real data for {x.shape[1]} features",
            "raise --n, or give more samples",
        )
    numbers = torch.linspace(n / 5, n, sizes).round().long().tolist()
    values = [frechet(x[:k], y[:k]) for k in numbers]
    inverse, found = 1 / torch.tensor(numbers, dtype=torch.float64), torch.tensor(values, dtype=torch.float64)
    centred = inverse - inverse.mean()
    slope = (centred * (found - found.mean())).sum() / centred.square().sum()
    return float(found.mean() - slope * inverse.mean())


@metric(can=["generator"], views={features: None}, applies=lambda run: False)
def fid_infinity(run: Run) -> Metric:
    """Fréchet distance of the features, extrapolated to infinitely many points; lower is better."""

    x, y = run.samples(features), run.real(features)
    value = extrapolated(x, y)
    groups = groups_for(x)
    (error,) = grouped(extrapolated, x, y, groups=groups, most=None, seed=run.seed)
    about = {"unit": "n to infinity", **protocol(run, features), **run.extractor.fields()}
    return run.record("fid-infinity", value, interval=of_squared(value, error, groups), **about)


@metric(can=["generator"], views={features: None, logits: None}, applies=lambda run: False)
def fid_per_class(run: Run) -> list[Metric]:
    """Fréchet distance of each class, as the classifier sees it in samples and in real data; lower is better."""

    if not has_features(run) or not run.extractor.is_classifier:
        raise UsageError("fid-per-class needs a classifier of the data", "name one with --features ENTRY")
    x, y = run.samples(features), run.real(features)
    of_x, of_y = run.samples(logits).argmax(1), run.real(logits).argmax(1)
    records = []
    for label in of_y.unique().tolist():
        a, b = x[of_x == label], y[of_y == label]
        if min(len(a), len(b)) <= x.shape[1]:
            continue  # too few to have a covariance
        value, groups = frechet(a, b), groups_for(a)
        (error,) = grouped(frechet, a, b, groups=groups, most=None, seed=run.seed)
        about = {**protocol(run, features), "n": len(a), "n_real": len(b), **run.extractor.fields()}
        interval = of_squared(value, error, groups)
        records.append(run.record("fid-per-class", value, unit=f"class {label}", interval=interval, **about))
    if not records:
        raise UsageError(f"no class has more samples than the {x.shape[1]} features", "raise --n")
    return records
