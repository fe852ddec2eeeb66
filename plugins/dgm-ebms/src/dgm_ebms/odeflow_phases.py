"""How the dynamics of an energy are trained as a generator: by contrast, as a GAN with itself, by likelihood."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dgmcore.config import Config
from dgmcore.noise import Noise
from dgmcore.training.energy import ContrastivePhase
from dgmcore.training.phase import Phase, Step

from .odeflow import Positive, Solver, ascent

__all__ = ["Contrastive", "FlowLikelihood"]


class Contrastive(ContrastivePhase):
    r"""The gradient of maximum likelihood of an energy, with the ends of noise-free dynamics as negatives.

    .. math:: \min_\theta E_\theta(x) - E_\theta(G_{sg(\theta)}(x_0)) + w \, E_{sg(\theta)}(G_\theta(x_0))

    With w = 0 this is eq. 5.1 with the generator of eq. 5.6, with w = 1 eq. 5.14: the energy is the critic of a
    Wasserstein GAN whose generator is the descent of that energy. One batch of samples serves both terms.

    In the last term the gradient goes through the unrolled solver and not into the weights of the energy that judges.
    With :math:`v = \nabla E(G(x_0))` held constant it is that of :math:`v \cdot G_\theta(x_0)`.
    """

    class Options(ContrastivePhase.Options):
        #: w, the weight of the generator's loss.
        generator_weight: float = 0.0
        #: None: the solver that samples.
        solver: Solver | None = None
        steps: Positive | None = None
        tolerance: float | None = None

    def critic(self) -> Any:
        return self.model.parts["energy"]

    def step(self, step: Step) -> None:
        x = step.batch()
        eps = self.model.start(step.noise(len(x)))
        with torch.set_grad_enabled(bool(self.options.generator_weight)):
            samples = self.model.solve(eps, _solver(self.model, self.options))
        loss = self.contrast(step, x, samples.detach())
        if self.options.generator_weight:
            loss = loss + self.options.generator_weight * self.generator_loss(samples).mean()
        step.minimize(loss)

    def generator_loss(self, samples: Tensor) -> Tensor:
        r"""Returns :math:`E_{sg(\theta)}(G_\theta(x_0))` of eq. 5.13, `(n,)`, for samples with their graph."""

        fixed = samples.detach()
        with torch.no_grad():
            energy, v = -self.score(fixed), -ascent(self.critic(), fixed)[0]
        return energy + (v * (samples - fixed)).flatten(1).sum(1)

    def validate(self, x: Tensor, noise: Noise) -> Tensor | None:
        return -self.model.log_prob(x) if self.model.event_shape == (2,) else None


class FlowLikelihood(Phase):
    """Maximum likelihood of the flow by eq. 5.7, through the solver that goes back from data to noise."""

    class Options(Config):
        #: None: the solver that samples.
        solver: Solver | None = None
        steps: Positive | None = None
        tolerance: float | None = None
        trace: Literal["auto", "exact", "hutchinson"] = "auto"
        probes: Positive = 1

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": list(self.model.parts["energy"].parameters())}

    def step(self, step: Step) -> None:
        x, o = step.batch(), self.options
        how = {k: getattr(o, k) for k in ("solver", "steps", "tolerance", "trace", "probes")}
        loss = -self.model.log_prob(x, noise=step.noise(len(x)), **how).mean()
        step.minimize(loss)
        step.log(nll=loss.detach())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x, noise=noise)


def _solver(model: Any, options: Any) -> Any:
    """Returns the model's sampling options, changed by those of a phase."""

    given = {k: getattr(options, k) for k in ("solver", "steps", "tolerance")}
    return model.sampling({k: v for k, v in given.items() if v is not None})
