"""Maximum likelihood for flows."""

from __future__ import annotations

import torch

from dgmcore.data.view import dequantize
from dgmcore.train import Step
from dgmcore.train.objectives import MaximumLikelihood

__all__ = ["FlowLikelihood"]


class FlowLikelihood(MaximumLikelihood):
    """Maximum likelihood; a model with `initialize(x)` is first fitted to one batch."""

    def setup(self, step: Step) -> None:
        initialize = getattr(self.model, "initialize", None)
        if initialize is None:
            return
        x = step.batch()
        if self.options.dequantize:
            x = dequantize(x, step.noise(len(x)), self.options.range, self.options.levels)
        with torch.no_grad():
            initialize(x)
