r"""Fréchet distance of features (FID).

References:
    GANs Trained by a Two Time-Scale Update Rule Converge to a Local Nash Equilibrium (Heusel et al., 2017)
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.entry import Metric
from dgmcore.evaluation.metric import Run, metric

from ..intervals import grouped, of_squared
from .comparison import compared, features, has_features

__all__ = ["fid", "frechet", "groups_for"]


def frechet(x: Tensor, y: Tensor) -> float:
    r"""Fréchet distance between Gaussians fitted to two sets, `(n, d)` and `(m, d)`.

    .. math:: |\mu_x - \mu_y|^2 + \mathrm{tr}(\Sigma_x + \Sigma_y - 2 (\Sigma_x \Sigma_y)^{1/2})

    The trace of the root is the sum of the roots of the eigenvalues. It is NaN for a single point, which has no
    variance, and for points that are not finite.

    Example:
        >>> x = torch.tensor([[-1.0], [1.0]])
        >>> round(frechet(3 * x, x + 1), 6)  # |0 - 1|^2 + (3 - 1)^2 times the variance, which is 2
        9.0
    """

    x, y = x.double(), y.double()
    if min(len(x), len(y)) < 2:
        return math.nan
    s, t = (points.T.cov().view(x.shape[1], -1) for points in (x, y))
    gap = (x.mean(0) - y.mean(0)).square().sum()
    if not (s @ t).isfinite().all():  # LAPACK may crash on such a matrix
        return math.nan
    roots = torch.linalg.eigvals(s @ t).sqrt().real.sum()
    return float(gap + s.trace() + t.trace() - 2 * roots)


@metric(can=["generator"], views={features: None}, applies=has_features)
def fid(run: Run) -> Metric:
    """Fréchet distance of the features; lower is better."""

    x, y = run.samples(features), run.real(features)
    groups = groups_for(x)
    (error,) = grouped(frechet, x, y, groups=groups, most=None, seed=run.seed)
    about = run.extractor.fields()
    return compared(run, "fid", features, frechet, lambda value: of_squared(value, error, groups), **about)


def groups_for(x: Tensor) -> int:
    """Returns how many groups its error is estimated from: fewer where the features are many and roots are slow."""

    return 20 if x.shape[1] <= 512 else 5
