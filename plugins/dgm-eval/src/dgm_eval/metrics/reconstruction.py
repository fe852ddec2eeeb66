"""Reconstruction error of an auto-encoder."""

from __future__ import annotations

from typing import cast

import torch

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, metric, unit
from dgmcore.interfaces import Encoder

from ..intervals import of_values
from ..real import blocks

__all__ = ["reconstruction"]


@metric(can=["encoder"])
def reconstruction(run: Run) -> Metric:
    """Mean squared error of reconstructions, for each dimension; images are compared in [0, 1]."""

    model, data = cast(Encoder, run.model), run.entry.data
    dataset, errors = run.dataset(run.against, run.asked), []
    for index in blocks(run, dataset, "reconstruction"):
        x = dataset.take(index).to(run.model.device)
        with torch.no_grad():
            back = model.decode(model.encode(x))
        errors.append((unit(x, data) - unit(back, data)).double().square().flatten(1).mean(1).cpu())
    n, where = len(dataset), "in [0, 1]" if data.range else "in the data's own units"
    about = {"unit": f"mean squared error {where}", "n_real": n, "against": run.against}
    found = torch.cat(errors)
    return run.record("reconstruction", float(found.mean()), interval=of_values(found), **about)
