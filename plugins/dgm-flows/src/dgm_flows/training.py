"""Maximum likelihood for flows."""

from __future__ import annotations

import torch
from torch import Tensor

from dgmcore.noise import Noise
from dgmcore.train import Phase, Step

__all__ = ["FlowLikelihood"]


class FlowLikelihood(Phase):
    """Minimises the mean of `-log_prob`; a model with `initialize(x)` is first fitted to one batch."""

    def setup(self, step: Step) -> None:
        initialize = getattr(self.model, "initialize", None)
        if initialize is not None:
            with torch.no_grad():
                initialize(step.batch())

    def step(self, step: Step) -> None:
        nll = -self.model.log_prob(step.batch()).mean()
        step.minimize(nll)
        step.log(nll=nll)

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x)
