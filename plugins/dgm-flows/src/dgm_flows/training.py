"""Maximum likelihood for flows, of continuous ones with penalties on their paths."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import torch
from dgm_train.objectives import MaximumLikelihood
from msgspec import Meta
from torch import Tensor

from dgmcore.config import Config, Count, NonNegative, Positive, Whole
from dgmcore.data.view import dequantize
from dgmcore.model import Model
from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

from .ffjord import signs
from .flow import log_normal

__all__ = ["FFJORDPhase", "FlowLikelihood", "OTFlowPhase"]

#: Steps of a solver, through all of which gradients go back.
Steps = Annotated[int, Meta(ge=1, le=1_000)]


class FlowLikelihood(MaximumLikelihood):
    """Maximum likelihood; a model with `initialize(x)` is first fitted to `initial` data."""

    class Options(MaximumLikelihood.Options):
        #: Data of the data-dependent initialisation, of models that have one; 0 leaves trained weights as they are.
        initial: Whole = 256

    def setup(self, step: Step) -> None:
        initialize = getattr(self.model, "initialize", None)
        if initialize is None or not self.options.initial:
            return
        batches: list[torch.Tensor] = []
        while sum(map(len, batches)) < self.options.initial:
            batches.append(step.batch())
        x = torch.cat(batches)
        if self.options.dequantize:
            x = dequantize(x, step.noise(len(x)), self.options.range, self.options.levels)
        with torch.no_grad():
            initialize(x)


class FFJORDPhase(Phase):
    r"""Maximum likelihood with Hutchinson's trace, and straight, smooth paths [1].

    The loss is :math:`-\log p + \lambda_K \int |f|^2 + \lambda_J \int |J e|^2`; the penalties keep the field so
    simple that few steps integrate it.

    References:
        [1] How to Train Your Neural ODE: the World of Jacobian and Kinetic Regularization
        (Finlay et al., 2020), https://arxiv.org/abs/2002.02798
    """

    class Options(Config):
        #: Of the solver, in training.
        steps: Steps = 8
        #: The weights of the penalties.
        kinetic: NonNegative = 0.01
        jacobian: NonNegative = 0.01

    def step(self, step: Step) -> None:
        x, o = step.batch(), self.options
        e = signs(step.noise(len(x)).normal(*x.shape[1:]))
        out = self.model.integrate(x, e, o.steps)
        nll = -(log_normal(out["z"]) + out["ladj"]).mean()
        kinetic, jacobian = out["kinetic"].mean(), out["jacobian"].mean()
        step.minimize(nll + o.kinetic * kinetic + o.jacobian * jacobian)
        step.log(nll=nll, kinetic=kinetic, jacobian=jacobian)

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x)


class OTFlowPhase(Phase):
    r"""Minimises :math:`J = L + a_1 C + a_2 R`: transport, negative log-likelihood, HJB residual [1].

    References:
        [1] OT-Flow: Fast and Accurate Continuous Normalizing Flows via Optimal Transport
        (Onken, Fung, Li & Ruthotto, 2021), https://arxiv.org/abs/2006.00104
    """

    class Options(Config):
        #: Of the solver, in training.
        steps: Steps = 4
        #: The weights a_1 and a_2.
        likelihood: NonNegative = 10.0
        hjb: NonNegative = 5.0
        #: Parameters are kept in [-clamp, clamp].
        clamp: Positive | None = None
        #: Steps that share one batch.
        keep_batch: Count = 1

    def __init__(self, model: Model, options: Any):
        super().__init__(model, options)
        self._batch: Tensor | None = None

    def step(self, step: Step) -> None:
        o = self.options
        if o.clamp is not None:
            with torch.no_grad():
                for p in self.model.parameters():
                    p.clamp_(-o.clamp, o.clamp)
        if self._batch is None or step.index % o.keep_batch == 0:
            self._batch = step.batch()
        out = self.model.integrate(self._batch, o.steps)
        nll = -(log_normal(out["z"]) + out["ladj"]).mean()
        transport, hjb = out["transport"].mean(), out["hjb"].mean()
        loss = transport + o.likelihood * nll + o.hjb * hjb
        step.minimize(loss)
        step.log(loss=loss, nll=nll, transport=transport, hjb=hjb)

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x)

    def state(self) -> dict[str, Tensor]:
        return {} if self._batch is None else {"batch": self._batch}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        self._batch = state.get("batch")
