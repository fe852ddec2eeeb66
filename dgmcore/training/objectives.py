"""Phases that fit every model of a kind."""

from __future__ import annotations

from torch import Tensor

from ..config import Config
from ..data.view import dequantize
from ..errors import TrainingError
from ..interfaces import Likelihood
from ..noise import Noise
from .phase import Phase, Step

__all__ = ["MaximumLikelihood"]


class MaximumLikelihood(Phase):
    r"""Maximises :math:`\log p_\theta(x)`, or the bound on it that the model's `log_prob` returns.

    With `dequantize`, uniform noise of one level is added to each datum: the loss is then an upper bound on the
    negative log-likelihood of the levels (Theis, van den Oord, Bethge, A note on the evaluation of generative
    models, 2016, section 3.1).
    """

    class Options(Config):
        dequantize: bool = False
        levels: int = 256
        range: tuple[float, float] = (-1.0, 1.0)

    def __init__(self, model, options):
        super().__init__(model, options)
        if not model.can("density") or model.likelihood == Likelihood.UNNORMALIZED:
            raise TrainingError(
                f"{type(model).__name__} has no normalised likelihood to maximise", "choose one of its own phases"
            )

    def losses(self, x: Tensor, noise: Noise) -> Tensor:
        if self.options.dequantize:
            x = dequantize(x, noise, self.options.range, self.options.levels)
        if self.model.likelihood == Likelihood.EXACT:
            return -self.model.log_prob(x)
        return -self.model.log_prob(x, noise=noise.child("log_prob"))

    def step(self, step: Step) -> None:
        x = step.batch()
        step.minimize(self.losses(x, step.noise(len(x))).mean())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return self.losses(x, noise)
