r"""The probability flow of a denoising diffusion model in discrete time.

With the angle :math:`\cos\phi_t = \sqrt{\bar\alpha_t}`, noised data are :math:`x_\phi = \cos\phi\, x_0 + \sin\phi\,
\epsilon`, and the flow is :math:`dx / d\phi = v(x, \phi)`, the mean of :math:`\cos\phi\,\epsilon - \sin\phi\, x_0`.

References:
    Score-Based Generative Modeling through Stochastic Differential Equations (Song et al., 2021), section 4.3
    Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022), appendix D
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from typing import Annotated, Any

import msgspec
import torch
from torch import Tensor

from dgmcore import Likelihood, Model, Options
from dgmcore.errors import OptionError, RegistryError
from dgmcore.noise import IndexedNoise, Noise

from .ddpm import DDPM
from .odes import Probes, log_density, log_normal, sign_probes, solve

__all__ = ["ProbabilityFlow"]

Steps = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
#: Noised data with a smaller share of signal in their variance are noise: the flow starts where there is more.
SIGNAL = 1e-5


class ProbabilityFlow(Model):
    """The deterministic flow of the part `base`, a `ddpm`: a pushforward, an encoder and a density.

    Heun's method goes from one of the base's discrete times to another, so its network sees no time that it was not
    trained for. The density is that of data with the noise of the first time.
    """

    class Sampling(Options):
        steps: Steps | None = None  # None: all of the base's times

    class Scoring(Options):
        steps: Steps | None = None
        probes: Probes = 0

    Parts = {"base": ("trajectory", "density")}
    example_parts = {
        "base": {"architecture": "ddpm", "config": {"schedule": {"steps": 20, "name": "cosine"}, "prediction": "v"}}
    }
    dtypes = (torch.float32, torch.float64)  # half precision can't tell its times apart
    likelihood = Likelihood.ESTIMATE  # of the discretised flow, from a prior that is only nearly N(0, I)

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        base = self.parts["base"]
        if not isinstance(base, DDPM):
            raise RegistryError(
                f"the part base is no ddpm: {type(base).__name__}", "name an entry of architecture ddpm"
            )
        self.event_shape = base.event_shape

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"x": self.event_shape}

    # --- the flow ------------------------------------------------------------------------------

    def angles(self, like: Tensor) -> Tensor:
        """Returns the angles of the base's times that the flow goes through, increasing, `(k,)`."""

        alpha_bar = self.parts["base"].alpha_bar
        return alpha_bar[alpha_bar >= SIGNAL].to(like).sqrt().clamp(max=1).arccos()

    def velocity(self, x: Tensor, angle: Tensor) -> Tensor:
        """Returns the flow's velocity at `x` and the angle of one of the base's times, `()`."""

        base = self.parts["base"]
        t = (self.angles(x) - angle).abs().argmin()
        a, s = base.coefficients(t, x)
        return (a * x - base.denoise(x, t)) / s

    def grid(self, steps: int | None, like: Tensor) -> Tensor:
        """Returns the angles of `steps + 1` times, evenly chosen from the first to the last.

        Raises:
            OptionError: If the base has too few times.
        """

        angles = self.angles(like)
        most = len(angles) - 1
        steps = most if steps is None else steps
        if steps > most:
            raise OptionError(f"steps must be from 1 to {most}, not {steps}", "set fewer with --set steps=50")
        return angles[torch.linspace(0, most, steps + 1, dtype=torch.float64).round().long()]

    # --- drawing, coding and measuring ---------------------------------------------------------

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        return self.decode(eps["x"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        return deque(self.trajectory(noise, **options), maxlen=1).pop()

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        x = noise.normal(*self.event_shape, name="x")
        yield from solve(self.velocity, x, self.grid(self.sampling(options).steps, x).flip(0), "heun")

    def encode(self, x: Tensor) -> Tensor:
        """Carries data to noise along the flow."""

        return deque(solve(self.velocity, x, self.grid(None, x), "heun"), maxlen=1).pop()

    def decode(self, z: Tensor) -> Tensor:
        return deque(solve(self.velocity, z, self.grid(None, z).flip(0), "heun"), maxlen=1).pop()

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the density of the flow, nats, `(n,)`."""

        o = self.scoring(options)
        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        probes = sign_probes(noise, self.event_shape, o.probes)
        return log_density(self.velocity, x, self.grid(o.steps, x), log_normal, probes, "heun")
