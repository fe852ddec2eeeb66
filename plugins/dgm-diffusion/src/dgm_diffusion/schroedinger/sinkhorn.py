r"""Sinkhorn's algorithm: entropic optimal transport between two sets of points.

References:
    Sinkhorn Distances: Lightspeed Computation of Optimal Transport (Cuturi, 2013)
    Computational Optimal Transport (Peyre and Cuturi, 2019), section 4.4, for the logarithms
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from dgmcore.errors import UsageError

__all__ = ["Transport", "sinkhorn"]


class Transport(NamedTuple):
    """A coupling of two sets of points, equally weighted.

    Attributes:
        plan: Its probabilities, `(n, m)`.
        cost: The mean cost under it.
        error: How far its marginals are from uniform, in total variation.
    """

    plan: Tensor
    cost: float
    error: float


def sinkhorn(
    x: Tensor, y: Tensor, regularization: float, *, iterations: int = 10_000, tolerance: float = 1e-6
) -> Transport:
    r"""Minimises :math:`\langle P, C \rangle - \epsilon H(P)` with :math:`C_{ij} = |x_i - y_j|^2`, in float64.

    Arguments:
        x: Points, `(n, *event_shape)`.
        y: Points, `(m, *event_shape)`.
        regularization: Epsilon. A Schroedinger bridge of Brownian motion with variance sigma^2 has 2 sigma^2.
        iterations: At most so many.
        tolerance: Of the marginals, in total variation, where it stops.

    Raises:
        UsageError: If the regularisation is not positive.

    Example:
        >>> x = torch.tensor([[0.0], [1.0]])
        >>> sinkhorn(x, x.flip(0) + 2, 0.01).plan.round(decimals=3)
        tensor([[0.0000, 0.5000],
                [0.5000, 0.0000]], dtype=torch.float64)
    """

    if not regularization > 0:
        raise UsageError(f"the regularisation must be positive, not {regularization}", "for example 0.1")
    x, y = x.double().flatten(1), y.double().flatten(1)
    cost = torch.cdist(x, y).square()
    kernel = -cost / regularization
    f = kernel.new_zeros(len(x))
    log_n, log_m = (torch.tensor(float(len(points))).double().log() for points in (x, y))
    error = 1.0
    for i in range(iterations):
        g = -log_m - torch.logsumexp(kernel + f[:, None], 0)
        rows = torch.logsumexp(kernel + g, 1)
        if i % 10 == 0:
            error = float(((f + rows).exp() - 1 / len(x)).abs().sum())  # the columns are exact after each g
            if error < tolerance:
                break
        f = -log_n - rows
    plan = (f[:, None] + g + kernel).exp()
    return Transport(plan, float((plan * cost).sum()), float((plan.sum(1) - 1 / len(x)).abs().sum()))
