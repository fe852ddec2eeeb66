r"""A mixture of Gaussians around points, each with the covariance of its neighbours: a proposal for few dimensions.

References:
    [1] Adaptive Markov chain Monte Carlo by local density estimates (Warnes, 2001, "the normal kernel coupler")
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from dgmcore.noise import Noise

__all__ = ["DiagonalGaussian", "LocalMixture", "nearest_to"]

_ROWS = 256  # points that are looked at at once: the table of their kernels stays in the cache


def nearest_to(points: Tensor, kernels: int, neighbours: int) -> tuple[Tensor, Tensor]:
    """Returns indices of evenly spaced points, `(K,)`, and of the points nearest to each in order, `(K, k)`."""

    count = len(points)
    centres = torch.linspace(0, count - 1, min(kernels, count), device=points.device).round().long()
    k = min(neighbours, count)
    found = [torch.cdist(points[some], points).topk(k, largest=False).indices for some in centres.split(256)]
    return centres, torch.cat(found)


class LocalMixture:
    """A mixture of Gaussians at some of the points, and with a small weight N(0, I), so that no place is left out.

    Arguments:
        points: Draws of what is to be proposed, `(M, D)`.
        centres: Which of them are centres, `(K,)`.
        nearest: Which are near to each centre: a kernel has their covariance, `(K, k)`.
        prior: The weight of N(0, I).
        inflation: A factor on the covariances: a proposal should rather be too wide.
    """

    def __init__(self, points: Tensor, centres: Tensor, nearest: Tensor, prior: float = 0.05, inflation: float = 1.3):
        d, near = points.shape[1], nearest.shape[1]
        self.prior = prior
        points = points.double()
        self.centres = points[centres]
        spread = points[nearest] - points[nearest].mean(1, keepdim=True)
        covariance = inflation * spread.mT @ spread / near
        floor = covariance.diagonal(dim1=1, dim2=2).mean(1).clamp(min=1e-12)
        covariance = covariance + 1e-2 * floor[:, None, None] * torch.eye(d, dtype=points.dtype, device=points.device)
        self.factor = torch.linalg.cholesky(covariance)
        precision = torch.cholesky_inverse(self.factor)
        towards = (precision @ self.centres[..., None])[..., 0]  # of the quadratic forms: P c
        constant = (towards * self.centres).sum(1) / 2 + self.factor.diagonal(dim1=1, dim2=2).log().sum(1)
        self.row, self.column = torch.triu_indices(d, d, device=points.device)
        double = torch.where(self.row == self.column, 0.5, 1.0).to(precision)
        forms = precision[:, self.row, self.column] * double
        self.coefficients = torch.cat([-forms, towards, -constant[:, None]], 1).T  # (F, K)
        self.forms, self.log_volume = -forms.T, self.factor.diagonal(dim1=1, dim2=2).log().sum(1)

    def draw(self, noise: Noise) -> Tensor:
        """Returns `noise.n` draws, `(n, D)`."""

        k = noise.integers(len(self.centres))
        w = noise.normal(self.centres.shape[1])
        local = self.centres[k] + (self.factor[k] * w.double()[:, None, :]).sum(2)
        return torch.where(noise.uniform()[:, None] < self.prior, w, local.to(w))

    def walk(self, eps: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        r"""Moves points by a draw of a kernel that they may belong to: as far, and in the directions, that fit there.

        Returns:
            The new points `(n, D)`, and the logarithm of the density of the way back over that there, `(n,)`.
        """

        u, w = noise.uniform(1).double(), noise.normal(eps.shape[1]).double()
        moved = [self._walk(*some) for some in zip(*(rows.split(_ROWS) for rows in (eps, u, w)), strict=True)]
        new, gain = (torch.cat(column) for column in zip(*moved, strict=True))
        return new, gain

    def _walk(self, eps: Tensor, u: Tensor, w: Tensor) -> tuple[Tensor, Tensor]:
        here = self._parts(eps).log_softmax(1)
        edges = here.exp().cumsum(1)
        k = torch.searchsorted(edges, u * edges[:, -1:]).clamp(max=len(self.centres) - 1)[:, 0]
        new = (eps + (self.factor[k] * w[:, None, :]).sum(2)).to(eps)
        apart = new.double() - eps.double()
        way = (apart[:, self.row] * apart[:, self.column]) @ self.forms - self.log_volume
        there = self._parts(new).log_softmax(1)
        return new, (there + way).logsumexp(1) - (here + way).logsumexp(1)

    def _parts(self, eps: Tensor) -> Tensor:
        """Returns the logarithms of the densities of the kernels at points, `(n, K)`."""

        x = eps.double()
        features = torch.cat([x[:, self.row] * x[:, self.column], x, torch.ones_like(x[:, :1])], 1)
        return features @ self.coefficients

    def log_density(self, eps: Tensor) -> Tensor:
        r"""Returns the logarithm of the density, without :math:`(2 \pi)^{-D/2}`, `(n,)`, float64."""

        sums = [self._parts(some).logsumexp(1) for some in eps.split(_ROWS)]
        near = torch.cat(sums) - math.log(len(self.centres))
        far = -eps.double().square().sum(1) / 2
        return torch.logaddexp(near + math.log1p(-self.prior), far + math.log(self.prior))


class DiagonalGaussian:
    r"""A Gaussian of independent coordinates, and with a small weight N(0, I): a proposal for many dimensions.

    Arguments:
        points: Draws of what is to be proposed, `(M, D)`, whose means and deviations it has.
        prior: The weight of N(0, I).
        keep: What a walk keeps of a point: :math:`m + \kappa (\epsilon - m) + \sqrt{1 - \kappa^2} s \omega`.
    """

    def __init__(self, points: Tensor, prior: float = 0.05, keep: float = 0.9):
        self.mean, self.std = points.mean(0), points.std(0).clamp(1e-3, 1.0)
        self.prior, self.keep = prior, keep

    def draw(self, noise: Noise) -> Tensor:
        """Returns `noise.n` draws, `(n, D)`."""

        w = noise.normal(len(self.mean))
        return torch.where(noise.uniform()[:, None] < self.prior, w, self.mean + self.std * w)

    def walk(self, eps: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        """Moves points so that the Gaussian stays as it is; see :meth:`LocalMixture.walk`."""

        w = noise.normal(len(self.mean))
        new = self.mean + self.keep * (eps - self.mean) + math.sqrt(1 - self.keep**2) * self.std * w
        return new, self._near(eps) - self._near(new)

    def log_density(self, eps: Tensor) -> Tensor:
        r"""Returns the logarithm of the density, without :math:`(2 \pi)^{-D/2}`, `(n,)`, float64."""

        far = -eps.double().square().sum(1) / 2
        return torch.logaddexp(self._near(eps) + math.log1p(-self.prior), far + math.log(self.prior))

    def _near(self, eps: Tensor) -> Tensor:
        std = self.std.double()
        return -((eps.double() - self.mean) / std).square().sum(1) / 2 - std.log().sum()
