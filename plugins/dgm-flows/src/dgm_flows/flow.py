r"""What all flows share: codes, sampling by pushing noise, and the change of variables."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import torch
from torch import Tensor

from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import Noise

__all__ = ["Dim", "Flow", "blockwise", "log_normal"]

#: The number of entries of a vector that is split in two.
Dim = Annotated[int, msgspec.Meta(ge=2, le=65_536)]

_ROWS = 5120  # a block whose hidden states stay in the processor's cache


def log_normal(z: Tensor) -> Tensor:
    r"""Returns :math:`\log N(z; 0, I)`, summed over all but the first dimension, shape `(n,)`."""

    z = z.flatten(1)
    return -0.5 * (z.square().sum(1) + z.shape[1] * math.log(2 * math.pi))


class Flow(Model):
    r"""A diffeomorphism between data and one block of standard normal noise.

    A subclass gives `decode(z) -> x` and `transform(x) -> (z, ladj)` with
    :math:`ladj = \log|\det \partial z / \partial x|`; then
    :math:`\log p(x) = \log N(z; 0, I) + ladj`.
    """

    likelihood: ClassVar[Likelihood] = Likelihood.EXACT
    # in half precision a density neither fits its samples nor integrates to one
    dtypes = (torch.float32, torch.float64)
    phases = {"likelihood": "dgm_flows.training:FlowLikelihood"}

    @property
    def noise_shapes(self) -> Mapping[str, Any]:
        return {"z": self.event_shape}

    def transform(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the code of `x` and the log-determinant, shapes `(n, *event_shape)` and `(n,)`."""

        raise NotImplementedError

    def decode(self, z: Tensor) -> Tensor:
        """Maps codes to data, both `(n, *event_shape)`."""

        raise NotImplementedError

    def encode(self, x: Tensor) -> Tensor:
        """Maps data to codes, both `(n, *event_shape)`."""

        return self.transform(x)[0]

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-density in nats, shape `(n,)`."""

        z, ladj = self.transform(x)
        return log_normal(z) + ladj

    def push(self, eps: Mapping[str, Tensor]) -> Tensor:
        return self.decode(eps["z"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        self.sampling(options)
        return self.push(noise.named(self.noise_shapes))


def blockwise(function: Callable[[Tensor], tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
    """Runs `function` on blocks of rows where no gradient is recorded: caches are faster than memory."""

    traced = torch.compiler.is_exporting()  # a graph has no length to look at
    if traced or torch.is_grad_enabled() or x.device.type != "cpu" or len(x) <= _ROWS:
        return function(x)
    return tuple(torch.cat(parts) for parts in zip(*map(function, x.chunk(-(-len(x) // _ROWS))), strict=True))
