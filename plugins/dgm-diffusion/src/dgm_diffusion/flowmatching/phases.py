"""Training of flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
import torch
from torch import Tensor

from dgmcore import Config
from dgmcore.noise import Noise
from dgmcore.training import Phase, Step

from ..labels import dropped
from .couplings import transport

if TYPE_CHECKING:
    from .model import FlowMatching

__all__ = ["Match"]


class Match(Phase):
    r"""Conditional flow matching: the squared error of the velocity against :math:`x_1 - x_0` (Lipman et al., eq. 23).

    `coupling` says which noise goes with which data: `independent`, or `ot`, the optimal transport between the two
    batches, which makes paths straighter (Tong et al., 2024). `times: logit-normal` draws more times from the middle
    (Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024). With classes, a
    share `drop_label` of the labels is hidden, for guidance.
    """

    model: FlowMatching

    class Options(Config):
        coupling: Literal["independent", "ot"] = "independent"
        times: Literal["uniform", "logit-normal"] = "uniform"
        drop_label: Annotated[float, msgspec.Meta(ge=0, le=1)] = 0.1

    def step(self, step: Step) -> None:
        x = step.batch()
        labels = step.labels() if self.model.config.classes else None
        step.minimize(self.losses(x, step.noise(len(x)), labels).mean())

    def losses(self, x: Tensor, noise: Noise, labels: Tensor | None = None) -> Tensor:
        """Returns a loss for each datum, `(n,)`; labels `(n,)`, or None: none."""

        start = noise.normal(*x.shape[1:])
        if self.options.coupling == "ot":
            start = start[transport(start, x, labels)]
        t = self.times(noise, x)
        if labels is not None:
            labels = dropped(labels, self.options.drop_label, self.model.config.classes, noise)
        at = t.view(-1, *[1] * (x.ndim - 1))
        error = self.model.velocity(torch.lerp(start, x, at), t, labels) - (x - start)
        return error.square().flatten(1).mean(1)

    def times(self, noise: Noise, like: Tensor) -> Tensor:
        """Returns a time for each datum, `(n,)`: one random number spread over the batch covers all of them."""

        u = (noise.uniform()[:1] + torch.arange(len(like), dtype=like.dtype, device=like.device) / len(like)) % 1.0
        if self.options.times == "uniform":
            return u
        return torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)).sigmoid()

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return self.losses(x, noise)
