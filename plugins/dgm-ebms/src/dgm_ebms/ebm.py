r"""Energy-based models as generators: Langevin dynamics in the space of the data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor, nn

from dgmcore import Likelihood, Model, Noise
from dgmcore.compose import langevin, step_frozen
from dgmcore.compose.temperature import linear
from dgmcore.config import Config, Count, NonNegative, Options, Positive, Real
from dgmcore.errors import UsageError

__all__ = ["EBM", "StartedEBM"]


class EBM(Model):
    r"""The model :math:`p(x) \propto q(x) \exp(s_\theta(x))` with a reference density q.

    Samples are the ends of chains that start at noise (short-run Langevin dynamics). With `reference_std` the
    reference is a centred Gaussian, which makes any network of linear growth normalisable; without, q = 1.
    `log_prob` is known up to a constant; the constant is learned by noise-contrastive estimation only.

    Parts:
        energy: The critic :math:`s_\theta`, usually an energy network.

    References:
        [1] Thesis (Xiao, 2022), sections 2.3 and 5.1
        [2] Implicit Generation and Modeling with Energy-Based Models (Du and Mordatch, 2019),
            https://arxiv.org/abs/1903.08689
        [3] Learning Non-Convergent Non-Persistent Short-Run MCMC (Nijkamp et al., 2019),
            https://arxiv.org/abs/1904.09770
    """

    Parts = {"energy": ("critic",)}
    dtypes = (torch.float32, torch.float64)  # the steps of a chain are smaller than the roundings of others
    likelihood = Likelihood.UNNORMALIZED
    phases = {
        "likelihood": "dgm_ebms.training:MaximumLikelihood",
        "score-matching": "dgm_ebms.training:DenoisingScoreMatching",
        "implicit-score-matching": "dgm_ebms.training:ImplicitScoreMatching",
        "noise-contrastive": "dgm_ebms.training:NoiseContrastive",
    }
    example = {"start": "normal"}
    example_parts = {"energy": {"architecture": "mlp-energy", "config": {"event_shape": [2], "hidden": [8]}}}

    class Config(Config):
        #: Where chains start: N(0, start_scale^2), or uniform in the range [-start_scale, start_scale].
        start: Literal["normal", "uniform"] = "normal"
        start_scale: NonNegative = 1.0
        #: Standard deviation of the Gaussian reference density.
        reference_std: Positive | None = None
        #: States are clamped to it.
        range: tuple[Real, Real] | None = None

    class Sampling(Options):
        steps: Count = 60
        #: The step size eta: x' = x - eta/2 grad E + sqrt(eta) w.
        step_size: Positive = 0.01
        #: Deviation of the noise in place of sqrt(step_size); 0: noise-free dynamics.
        noise_scale: NonNegative | None = None
        #: Temperature of the noise at the last step, reached linearly.
        final_temperature: NonNegative = 1.0
        gradient_clip: Positive | None = None

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.parts["energy"].event_shape)
        self.data_range = self.config.range
        self.log_normalizer = nn.Parameter(torch.zeros(()))

    # --- judging ---------------------------------------------------------------------------------

    def score(self, x: Tensor) -> Tensor:
        s = self.parts["energy"].score(x)
        if self.config.reference_std is not None:
            s = s - x.flatten(1).square().sum(1) / (2 * self.config.reference_std**2)
        return s

    def log_prob(self, x: Tensor) -> Tensor:
        return self.score(x) - self.log_normalizer

    # --- sampling --------------------------------------------------------------------------------

    def start(self, noise: Noise) -> Tensor:
        """Returns where chains start, shape `(n, *event_shape)`."""

        if self.config.start == "normal":
            return self._project(self.config.start_scale * noise.normal(*self.event_shape, name="start"))
        return self._project(self.config.start_scale * (2 * noise.uniform(*self.event_shape, name="start") - 1))

    def chain(self, x: Tensor, noise: Noise, options: Any) -> Iterator[Tensor]:
        """Yields the states of the chain from `x` on, `options` being of :class:`Sampling`."""

        scale = math.sqrt(options.step_size) if options.noise_scale is None else options.noise_scale
        first = scale**2 / options.step_size
        states = langevin(
            lambda state: -self.score(state["x"]),
            {"x": x},
            noise,
            steps=options.steps,
            step_size=options.step_size,
            temperature=[first * t for t in linear(1.0, options.final_temperature, options.steps)],
            gradient_clip=options.gradient_clip,
            project=self._project,
        )
        return (state["x"] for state in step_frozen(states, self))

    def _project(self, x: Tensor) -> Tensor:
        return x if self.config.range is None else x.clamp(*self.config.range)

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        chosen = self.sampling(options)
        x = self.start(noise)
        yield x
        yield from self.chain(x, noise.child("langevin"), chosen)

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        for state in self.trajectory(noise, **options):
            x = state
        return x


class StartedEBM(EBM):
    """The same, with chains that start at draws of another generator in place of noise (thesis, Table 4.6, line 3).

    The chains move the data, unlike those of :class:`~dgm_hybrids.vaebm.VAEBM`, which move the generator's noise.

    Parts:
        energy: The critic.
        start: The generator that chains start at. It is held fixed, and the data are in its range.

    Raises:
        UsageError: For parts of data of different shapes.
    """

    Parts = {"energy": ("critic",), "start": ("generator",)}
    example = {}
    example_parts = {**EBM.example_parts, "start": {"architecture": "mlp-vae", "config": {"hidden": [8]}}}

    class Config(Config):
        reference_std: Positive | None = None
        range: tuple[Real, Real] | None = None

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        start = self.parts["start"]
        if tuple(start.event_shape) != self.event_shape:
            raise UsageError(
                f"start draws data of shape {list(start.event_shape)}, energy judges {list(self.event_shape)}",
                "give two parts of the same data",
            )
        if start.entry is not None and start.entry.data.range is not None:
            self.data_range = start.entry.data.range  # training and loading hold the data to it

    @torch.no_grad()
    def start(self, noise: Noise) -> Tensor:
        return self._project(self.parts["start"].sample(noise.child("start")))
