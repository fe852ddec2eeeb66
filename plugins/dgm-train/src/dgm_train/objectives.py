"""Phases that fit every model of a kind."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta
from torch import Tensor

from dgmcore.config import Config, Real
from dgmcore.data.view import dequantize
from dgmcore.errors import TrainingError
from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

__all__ = ["MaximumLikelihood"]


class MaximumLikelihood(Phase):
    r"""Minimises the mean of :math:`-\log p_\theta(x)` in nats, or of the bound on it that `log_prob` returns.

    With `dequantize`, uniform noise of one level is added to each datum: the loss is then an upper bound on the
    negative log-likelihood of the levels (Theis, van den Oord, Bethge, A note on the evaluation of generative
    models, 2016, section 3.1).

    Raises:
        TrainingError: If the model has no `log_prob`, or one without its normalising constant.
    """

    class Options(Config):
        #: Whether to add the noise. The data must then be of `levels` values in `range`.
        dequantize: bool = False
        levels: Annotated[int, Meta(ge=2, le=65_536)] = 256
        range: tuple[Real, Real] = (-1.0, 1.0)

        def __post_init__(self) -> None:
            if not self.range[0] < self.range[1]:
                raise ValueError("range: the lower end comes first")

    def __init__(self, model: Model, options: Any):
        super().__init__(model, options)
        if not model.can("density") or getattr(model, "likelihood", None) == Likelihood.UNNORMALIZED:
            raise TrainingError(
                f"{type(model).__name__} has no normalised likelihood to maximise", "choose one of its own phases"
            )

    def losses(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns the loss of each datum of `x`, `(n, *event_shape)`, in nats, `(n,)`."""
        if self.options.dequantize:
            x = dequantize(x, noise, self.options.range, self.options.levels)
        density: Any = self.model
        exact = density.likelihood == Likelihood.EXACT
        log_prob: Tensor = density.log_prob(x) if exact else density.log_prob(x, noise=noise.child("log_prob"))
        return -log_prob

    def step(self, step: Step) -> None:
        x = step.batch()
        step.minimize(self.losses(x, step.noise(len(x))).mean())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return self.losses(x, noise)
