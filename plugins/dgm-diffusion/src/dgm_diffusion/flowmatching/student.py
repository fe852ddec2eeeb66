r"""A student of flow matching, which goes the way of many steps in one or two.

References:
    Flow Straight and Fast: Learning to Generate and Transfer Data with Rectified Flow (Liu et al., 2023), section 2.2
    Progressive Distillation for Fast Sampling of Diffusion Models (Salimans and Ho, 2022)
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

from dgmcore import Model, Options
from dgmcore.config import Fraction
from dgmcore.errors import RegistryError
from dgmcore.noise import Noise

from ..labels import Label
from .model import Velocity

__all__ = ["FlowStudent"]


class FlowStudent(Velocity):
    r"""Steps :math:`x_{t'} = x_t + (t' - t)\, u(x_t, t \mid y)` between few `times`, from noise at 0 to data at 1.

    Its velocity is the mean one from time to time, so that there is no flow between them and no density. Guidance is
    what the teacher had. A generator, and a pushforward without classes.
    """

    class Config(Velocity.Config):
        times: tuple[Fraction, ...] = (0.0, 0.5, 1.0)

    class Sampling(Options):
        label: Label = None

    phases = {"distill": "dgm_diffusion.flowmatching.distillation:Distill"}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        times = self.config.times
        if len(times) < 2 or times[0] != 0 or times[-1] != 1 or any(not a < b for a, b in pairwise(times)):
            raise RegistryError(
                f"times: {list(times)} do not increase from 0 to 1", "for two steps write times: [0, 0.5, 1]"
            )

    @classmethod
    def starter(cls, shape: tuple[int, ...], levels: int | None = None) -> Mapping[str, Any]:
        return {}  # it needs a teacher, which a recipe must name

    def states(self, x: Tensor, labels: Tensor | None = None) -> Iterator[Tensor]:
        """Yields the states from noise `x` on, which is the first, `(n, *event_shape)` each."""

        yield x
        for t, after in pairwise(self.config.times):
            x = x + (after - t) * self.velocity(x, torch.tensor(t, dtype=x.dtype, device=x.device), labels)
            yield x

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        return deque(self.states(eps["x"]), maxlen=1).pop()

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        labels = self.labels(self.sampling(options).label, noise)
        yield from self.states(noise.normal(*self.event_shape, name="x"), labels)
