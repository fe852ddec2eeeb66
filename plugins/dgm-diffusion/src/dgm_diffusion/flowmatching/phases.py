"""Training of flow matching."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal

import torch
from torch import Tensor

from dgmcore.noise import Noise

from ..training import LabelledRegression, spread
from .couplings import transport

if TYPE_CHECKING:
    from .model import FlowMatching

__all__ = ["Match"]


class Match(LabelledRegression):
    r"""Conditional flow matching: the squared error of the velocity against :math:`x_1 - x_0` (Lipman et al., eq. 23).

    `coupling` says which noise goes with which data: `independent`, or `ot`, the optimal transport between the two
    batches, which makes paths straighter (Tong et al., 2024). `times: logit-normal` draws more times from the middle
    (Esser et al., Scaling Rectified Flow Transformers for High-Resolution Image Synthesis, 2024).
    """

    model: FlowMatching

    class Options(LabelledRegression.Options):
        coupling: Literal["independent", "ot"] = "independent"
        times: Literal["uniform", "logit-normal"] = "uniform"

    def losses(self, x: Tensor, noise: Noise, labels: Tensor | None = None) -> Tensor:
        start = noise.normal(*x.shape[1:])
        if self.options.coupling == "ot":
            start = start[transport(start, x, labels)]
        t = self.times(noise, x)
        at = t.view(-1, *[1] * (x.ndim - 1))
        error = self.model.velocity(torch.lerp(start, x, at), t, self.hidden(labels, noise)) - (x - start)
        return error.square().flatten(1).mean(1)

    def times(self, noise: Noise, like: Tensor) -> Tensor:
        """Returns a time for each datum, `(n,)`."""

        u = spread(noise, like)
        return u if self.options.times == "uniform" else torch.special.ndtri(u.clamp(1e-4, 1 - 1e-4)).sigmoid()
