"""Maximum likelihood for flows."""

from __future__ import annotations

from typing import Annotated

import msgspec
import torch

from dgmcore.data.view import dequantize
from dgmcore.training import Step
from dgmcore.training.objectives import MaximumLikelihood

__all__ = ["FlowLikelihood"]


class FlowLikelihood(MaximumLikelihood):
    """Maximum likelihood; a model with `initialize(x)` is first fitted to `initial` data."""

    class Options(MaximumLikelihood.Options):
        initial: Annotated[int, msgspec.Meta(ge=1)] = 256

    def setup(self, step: Step) -> None:
        initialize = getattr(self.model, "initialize", None)
        if initialize is None:
            return
        batches: list[torch.Tensor] = []
        while sum(map(len, batches)) < self.options.initial:
            batches.append(step.batch())
        x = torch.cat(batches)
        if self.options.dequantize:
            x = dequantize(x, step.noise(len(x)), self.options.range, self.options.levels)
        with torch.no_grad():
            initialize(x)
