"""Mode coverage, for data whose modes are known."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation.metric import Run, View, flat, metric

from ..intervals import around, of_share, one_sided

__all__ = ["covered", "histogram", "mode_kl", "modes", "within"]


def covered(x: Tensor, centres: Tensor, scale: float) -> tuple[int, float]:
    r"""Returns how many modes have a point within :math:`3 \sigma`, and the share of points that are so near to one."""

    distance, nearest = torch.cdist(x, centres).min(1)
    near = distance <= 3 * scale
    return len(torch.bincount(nearest[near]).nonzero()), float(near.float().mean())


def histogram(labels: Tensor, classes: int = 10) -> Tensor:
    """Counts the modes of stacked labels, `(n, channels)` with `classes` each; returns `(classes ** channels,)`."""

    place = classes ** torch.arange(labels.shape[1] - 1, -1, -1)
    return torch.bincount((labels * place).sum(1), minlength=classes ** labels.shape[1])


def classes(run: Run, x: Tensor) -> Tensor:
    """A view: the class of each channel `(n, channels)`, as a classifier of single channels sees it."""

    return run.extractor.logits(x.flatten(0, 1)[:, None]).argmax(1).view(len(x), x.shape[1])


def _stacked(run: Run) -> bool:
    return run.entry.data.dataset.startswith("stacked-")


def _mixture(run: Run) -> tuple[Tensor, float] | None:
    """The centres `(k, 2)` and the standard deviation of a Gaussian mixture, if the data are one."""

    dataset: Any = run.dataset(run.against)
    while not hasattr(dataset, "centres") and hasattr(dataset, "base"):
        dataset = dataset.base  # a view of it
    centres = getattr(dataset, "centres", None)
    return None if centres is None else (torch.as_tensor(centres, dtype=torch.float32), float(dataset.scale))


def _need_mixture(run: Run) -> tuple[Tensor, float]:
    found = _mixture(run)
    if found is None:
        raise UsageError(f"the modes of {run.entry.data.dataset} are not known", "see `dgm eval NAME` without --metric")
    return found


def _has_modes(run: Run) -> bool:
    return _stacked(run) or _mixture(run) is not None


def _protocol(run: Run) -> dict[str, Any]:
    view: View = classes if _stacked(run) else flat
    by = run.extractor.fields() if _stacked(run) else {}
    return {"n": len(run.samples(view)), "against": run.against, "sampling": run.sampling, **by}


@metric(can=["generator"], applies=_has_modes)
def modes(run: Run) -> Metric:
    """How many of the data's modes the samples reach."""

    if _stacked(run):
        labels = run.samples(classes)
        reached, x, of = lambda some: int((histogram(some) > 0).sum()), labels, len(histogram(labels))
    else:
        centres, scale = _need_mixture(run)
        reached, x, of = lambda some: covered(some, centres, scale)[0], run.samples(flat), len(centres)
    value, error = reached(x), one_sided(reached, x, seed=run.seed)
    return run.record("modes", value, interval=around(value, error, 20), unit=f"of {of}", **_protocol(run))


@metric(can=["generator"], applies=lambda run: not _stacked(run) and _has_modes(run))
def within(run: Run) -> Metric:
    """The share of samples within three standard deviations of a mode (99.7 % in one dimension, 98.9 % in two)."""

    centres, scale = _need_mixture(run)
    _, share = covered(run.samples(flat), centres, scale)
    ideal = 1 - math.exp(-4.5) if centres.shape[1] == 2 else None
    interval = of_share(share, len(run.samples(flat)))
    return run.record("within-3-sigma", share, interval=interval, unit="share", floor=ideal, **_protocol(run))


@metric(can=["generator"], applies=_stacked)
def mode_kl(run: Run) -> Metric:
    r"""KL divergence of the samples' modes from the uniform distribution, in nats."""

    if not _stacked(run):
        raise UsageError(f"{run.entry.data.dataset} has no stacked classes", "mode-kl is for stacked-mnist")
    labels = run.samples(classes)
    value, error = _kl_of(labels), one_sided(_kl_of, labels, seed=run.seed)
    return run.record("mode-kl", value, interval=around(value, error, 20), unit="nats", **_protocol(run))


def _kl_of(labels: Tensor) -> float:
    counts = histogram(labels).double()
    p = counts[counts > 0] / counts.sum()
    return float((p * (p * len(counts)).log()).sum())
