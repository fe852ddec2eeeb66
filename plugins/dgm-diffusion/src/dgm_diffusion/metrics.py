"""A metric of models that draw what they are asked for."""

from __future__ import annotations

import torch

from dgmcore.config import to_dict
from dgmcore.entry import Metric
from dgmcore.errors import UsageError
from dgmcore.evaluation import Run, metric
from dgmcore.plugins.provided import call, features
from dgmcore.sampling.draw import stream

__all__ = ["label_agreement"]


def _classes(run: Run) -> int:
    """How many classes the model can be asked for."""

    takes = "label" in type(run.model).Sampling.__struct_fields__
    return int(getattr(run.model.config, "classes", 0)) if takes else 0


def _wilson(share: float, n: int) -> tuple[float, float]:
    """Returns the interval of a share of n independent samples that holds the true one 95 times of 100."""

    z2 = 1.96**2 / n
    middle, half = share + z2 / 2, (z2 * share * (1 - share) + z2**2 / 4) ** 0.5
    return (middle - half) / (1 + z2), (middle + half) / (1 + z2)


@metric(can=["generator"], applies=lambda run: _classes(run) > 1)
def label_agreement(run: Run) -> Metric:
    """The share of samples that a classifier gives the label they were asked for; classes in turn, 1,000 samples."""

    classes = _classes(run)
    record = features().get(run.entry.data.dataset)
    name = getattr(run, "features_name", None) or (record.entry if record else None)
    if not classes or name is None:
        lacks = "takes no label" if not classes else "has data that no classifier is known for"
        raise UsageError(f"{run.entry.name} {lacks}", "name a model with classes, a classifier by --features ENTRY")
    classifier = call("extractor")(name, run.entry.data, run.model.device)
    n = run.asked or 1000
    options = {**getattr(run, "sampling_options", {}), "label": tuple(range(classes))}
    right = at = 0
    with torch.no_grad():
        for x in stream(run.model, n, seed=run.seed, **options):
            asked = torch.arange(at, at + len(x), device=x.device) % classes
            right += int((classifier.logits(x).argmax(1) == asked).sum())
            at += len(x)
    return run.record(
        "label-agreement",
        right / n,
        n=n,
        std=(right / n * (1 - right / n) / n) ** 0.5,
        interval=_wilson(right / n, n),
        sampling=to_dict(run.model.sampling(options)),
        **classifier.fields(),
    )
