"""The terms of NVAE's objective."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

__all__ = ["Terms", "full"]


def full(x: Tensor) -> Tensor:
    """Carries what autocast made half precise to float32."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


class Terms(NamedTuple):
    """The terms of the ELBO: reconstruction `(n,)`, and the KL divergence of each group `(groups, n)`."""

    recon: Tensor
    kl: Tensor

    @property
    def elbo(self) -> Tensor:
        return self.recon - self.kl.sum(0)
