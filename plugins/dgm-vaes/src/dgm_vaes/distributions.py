r"""The distributions of variational auto-encoders, over the last axes of a batch.

Every `log_prob` and `kl` sums over all axes but the first and returns `(n,)` nats.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = [
    "Bernoulli",
    "DiscretizedLogistics",
    "Gaussian",
    "importance_log_prob",
    "soft_clamp",
    "standard_normal_log_prob",
    "sum_event",
]

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def sum_event(x: Tensor) -> Tensor:
    """Sums `(n, ...)` over all axes but the first."""
    return x.flatten(1).sum(1)


def soft_clamp(x: Tensor, bound: float = 5.0) -> Tensor:
    r"""Returns :math:`b \tanh(x / b)`, the identity near 0, bounded by `b`."""
    return torch.tanh(x / bound).mul(bound)


def standard_normal_log_prob(z: Tensor) -> Tensor:
    r"""Returns :math:`\log N(z; 0, I)`, shape `(n,)`."""
    return sum_event(-0.5 * z.square() - _HALF_LOG_2PI)


def importance_log_prob(log_weights: list[Tensor], x: Tensor) -> Tensor:
    r"""Returns :math:`\log \frac1k \sum_j e^{w_j}` of `k` tensors `(n,)`: the ELBO for one, the IWAE bound for more.

    Where the numbers overflowed on the way from finite data `x`, far from all that the model knows, it is -inf, which
    is a bound of any density.
    """
    w = torch.stack(log_weights)
    bound = torch.logsumexp(w, 0) - torch.log(w.new_tensor(float(len(w))))
    return torch.where(bound.isnan() & x.flatten(1).isfinite().all(1), -math.inf, bound)


class Bernoulli:
    r"""Independent pixels that are 1 with the probability :math:`p = \mathrm{sigmoid}(l)`.

    For grey values between 0 and 1, :math:`\sum x \log p + (1 - x) \log(1 - p)` is the cross-entropy of Ruthotto &
    Haber, eq. 4; the published models are trained and compared by it.
    """

    def __init__(self, logits: Tensor):
        self.logits = logits

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the cross-entropy with its sign changed, shape `(n,)`, for `x` in [0, 1]."""
        return -sum_event(F.binary_cross_entropy_with_logits(self.logits, x, reduction="none"))

    def mean(self) -> Tensor:
        return torch.sigmoid(self.logits)


class Gaussian:
    r"""A diagonal normal distribution :math:`N(\mu, \sigma^2)`.

    Arguments:
        mu: The mean, shape `(n, ...)`.
        log_sigma: The logarithm of the standard deviation, same shape.
    """

    def __init__(self, mu: Tensor, log_sigma: Tensor):
        self.mu, self.log_sigma = mu, log_sigma
        self.sigma = log_sigma.exp()

    @classmethod
    def clamped(cls, mu: Tensor, log_sigma: Tensor) -> Gaussian:
        r"""The normal of NVAE's code: :math:`5 \tanh(\mu/5)`, and :math:`e^{5 \tanh(\log\sigma/5)} + 0.01` as sigma.

        So a prior of zeros has the standard deviation 1.01.
        """
        self = cls.__new__(cls)
        self.mu = soft_clamp(mu)
        self.sigma = soft_clamp(log_sigma).exp() + 1e-2
        self.log_sigma = self.sigma.log()
        return self

    def push(self, eps: Tensor, temperature: float = 1.0) -> Tensor:
        r"""Returns :math:`\mu + t \sigma \epsilon`."""
        return torch.addcmul(self.mu, self.sigma, eps, value=temperature)

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-density of `x`, shape `(n,)`."""
        return sum_event(-0.5 * ((x - self.mu) / self.sigma).square() - self.log_sigma - _HALF_LOG_2PI)

    def mean(self) -> Tensor:
        return self.mu

    def kl_to_standard(self) -> Tensor:
        r"""Returns :math:`KL(\text{self} \,\|\, N(0, I))`, shape `(n,)`."""
        return sum_event(0.5 * (self.mu.square() + self.sigma.square() - 1.0) - self.log_sigma)

    def kl(self, other: Gaussian) -> Tensor:
        r"""Returns :math:`KL(\text{self} \,\|\, \text{other})` in closed form, shape `(n,)`."""
        shift, ratio = (self.mu - other.mu) / other.sigma, self.sigma / other.sigma
        return sum_event(0.5 * (shift.square() + ratio.square() - 1.0) - self.log_sigma + other.log_sigma)


class DiscretizedLogistics:
    r"""A mixture of discretised logistics over 8-bit pixels in [-1, 1] [1].

    Channels are autoregressive: the means of green and blue are shifted by multiples of the
    channels before. The first and the last level hold the tails, so levels sum to one.

    Arguments:
        logits: `(n, 10 k, h, w)` for RGB, `(n, 3 k, h, w)` for one channel, `k` mixtures: the mixtures'
            logits, then for each channel means, log scales and (RGB) coefficients.
        channels: 3 or 1.
        levels: The number of levels, 256 for 8 bits.

    References:
        [1] PixelCNN++ (Salimans et al., 2017), as the decoder of NVAE (Vahdat & Kautz, 2020)
    """

    def __init__(self, logits: Tensor, channels: int = 3, levels: int = 256):
        n, _, h, w = logits.shape
        self.channels, self.levels = channels, levels
        parts = 3 if channels == 3 else 2
        k = logits.shape[1] // (1 + channels * parts)
        self.logits = logits[:, :k]
        rest = logits[:, k:].reshape(n, channels, parts * k, h, w)
        self.means = rest[:, :, :k]  # (n, c, k, h, w)
        self.log_scales = rest[:, :, k : 2 * k].clamp(min=-7.0)
        self.coefficients = torch.tanh(rest[:, :, 2 * k :]) if channels == 3 else None

    def _shifted(self, x: Tensor) -> Tensor:
        """Returns the means given the channels of `x` `(n, c, h, w)`, shape `(n, c, k, h, w)`."""
        if self.coefficients is None:
            return self.means
        r, g = x[:, 0:1], x[:, 1:2]
        c = self.coefficients
        return torch.stack(
            [self.means[:, 0], self.means[:, 1] + c[:, 0] * r, self.means[:, 2] + c[:, 1] * r + c[:, 2] * g], 1
        )

    def log_prob(self, x: Tensor) -> Tensor:
        """Returns the log-probability of the levels nearest to `x`, shape `(n,)`."""
        centred = x.unsqueeze(2) - self._shifted(x)
        inverse = torch.exp(-self.log_scales)
        half = 1.0 / (self.levels - 1)
        upper, lower = inverse * (centred + half), inverse * (centred - half)
        mass = torch.sigmoid(upper) - torch.sigmoid(lower)
        middle = inverse * centred
        # where the mass underflows, the density at the centre times the width of a level
        density = middle - self.log_scales - 2.0 * F.softplus(middle) - math.log((self.levels - 1) / 2)
        inner = torch.where(mass > 1e-5, mass.clamp(min=1e-10).log(), density)
        edge = 1.0 - half
        log_level = torch.where(
            x.unsqueeze(2) < -edge,
            upper - F.softplus(upper),
            torch.where(x.unsqueeze(2) > edge, -F.softplus(lower), inner),
        )
        return sum_event(torch.logsumexp(log_level.sum(1) + F.log_softmax(self.logits, 1), 1))

    def push(self, eps: Tensor, temperature: float = 1.0) -> Tensor:
        """Maps standard normals `(n, 1 + c, h, w)` to pixels in [-1, 1], `(n, c, h, w)`.

        The first channel of `eps` chooses the mixture by its quantile, the others are quantiles of the
        logistics; differentiable but for the choice.
        """
        u = torch.special.ndtr(eps).clamp(1e-5, 1.0 - 1e-5)
        cumulative = torch.softmax(self.logits / temperature, 1).cumsum(1)
        index = (u[:, :1] > cumulative[:, :-1]).sum(1, keepdim=True)  # (n, 1, h, w)
        picked = index.unsqueeze(1)

        def pick(t: Tensor) -> Tensor:
            return t.gather(2, picked.expand(-1, t.shape[1], -1, -1, -1)).squeeze(2)

        means, scales = pick(self.means), pick(self.log_scales).exp()
        draws = means + temperature * scales * torch.logit(u[:, 1:])
        if self.coefficients is None:
            return draws.clamp(-1.0, 1.0)
        c = pick(self.coefficients)
        r = draws[:, 0].clamp(-1.0, 1.0)
        g = (draws[:, 1] + c[:, 0] * r).clamp(-1.0, 1.0)
        b = (draws[:, 2] + c[:, 1] * r + c[:, 2] * g).clamp(-1.0, 1.0)
        return torch.stack([r, g, b], 1)

    def mean(self) -> Tensor:
        """Returns the mixture's mean with each channel at the mean of those before, `(n, c, h, w)`."""
        weights = torch.softmax(self.logits, 1)
        x = self.means.new_zeros(*self.means.shape[:2], *self.means.shape[3:])
        for i in range(self.channels):
            mean = (weights * self._shifted(x)[:, i]).sum(1).clamp(-1.0, 1.0)
            x = torch.cat([x[:, :i], mean.unsqueeze(1), x[:, i + 1 :]], 1)
        return x
