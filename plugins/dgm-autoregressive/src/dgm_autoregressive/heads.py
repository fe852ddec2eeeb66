r"""The distributions of one pixel or symbol over its levels.

A head says how many numbers the net gives for each pixel (`outputs`), judges levels by them (`log_prob`) and draws
levels (`draw`). Channels of a pixel, if there are several, are a chain of their own.
"""

from __future__ import annotations

from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor

from .levels import Levels

__all__ = ["Head", "LogisticMixture", "Softmax"]


class Head(Protocol):
    """What a pixel's channels are drawn from, given the net's numbers for the pixel."""

    #: Numbers for each pixel, and uniform numbers that a draw takes.
    outputs: int
    uniforms: int

    def log_prob(self, params: Tensor, index: Tensor) -> Tensor:
        """Maps numbers `(n, outputs, ...)` and levels `(n, C, ...)` to each channel's nats given those before."""

    def draw(self, params: Tensor, u: Tensor) -> Tensor:
        """Maps numbers `(n, outputs)` and uniform ones `(n, uniforms)`, between 0 and 1, to levels `(n, C)`."""


class Softmax:
    """Any distribution over the levels of one channel.

    Example:
        >>> head = Softmax(Levels(4, 0.0, 3.0))
        >>> head.log_prob(torch.zeros(2, 4, 5), torch.zeros(2, 1, 5, dtype=torch.int64)).exp()[0, 0, 0]
        tensor(0.2500)
    """

    uniforms = 1

    def __init__(self, levels: Levels):
        self.outputs = levels.count

    def log_prob(self, params: Tensor, index: Tensor) -> Tensor:
        return -F.cross_entropy(at_least_single(params), index[:, 0], reduction="none").unsqueeze(1)

    def draw(self, params: Tensor, u: Tensor) -> Tensor:
        cumulative = torch.softmax(params, 1).cumsum(1)
        return (u >= cumulative[:, :-1]).sum(1, keepdim=True)


class LogisticMixture:
    r"""A mixture of logistics that are rounded to levels [1].

    With levels carried to :math:`v \in [-1, 1]`, :math:`\delta = 1 / (L - 1)` half the distance of two, and the sigmoid
    :math:`\sigma`, a component gives a level the probability

    .. math:: \sigma\Bigl(\frac{v + \delta - \mu}{s}\Bigr) - \sigma\Bigl(\frac{v - \delta - \mu}{s}\Bigr)
              = \sigma(a)\, \sigma(-b)\, (1 - e^{b - a}),

    :math:`a, b` being the two arguments. The first level has all that is below it and the last all that is above, so
    probabilities sum to 1; the product keeps its digits where the difference has none.

    Channels are a chain within the component: the means of later ones are shifted by multiples of earlier ones.

    Arguments:
        levels: The levels of a channel.
        components: How many logistics.
        channels: The channels of a pixel.

    References:
        [1] PixelCNN++ (Salimans et al., 2017), section 2, https://arxiv.org/abs/1701.05517
    """

    def __init__(self, levels: Levels, components: int, channels: int = 1):
        self.count, self.components, self.channels = levels.count, components, channels
        self.shifts = channels * (channels - 1) // 2
        self.outputs = components * (1 + 2 * channels + self.shifts)
        self.uniforms = 1 + channels

    def log_prob(self, params: Tensor, index: Tensor) -> Tensor:
        logits, means, log_scales, shifts = self._parts(at_least_single(params))
        v = self._carried(index, means.dtype).unsqueeze(2)  # (n, C, 1, ...)
        means = self._shifted(means, shifts, v)
        inverse = torch.exp(-log_scales)
        width = 2 / (self.count - 1) * inverse
        upper = inverse * (v - means) + width / 2
        lower = upper - width
        level = index.unsqueeze(2)
        log_level = torch.where(level == self.count - 1, 0.0, F.logsigmoid(upper))
        log_level = log_level + torch.where(level == 0, 0.0, F.logsigmoid(-lower))
        inside = (level > 0) & (level < self.count - 1)
        log_level = log_level + torch.where(inside, torch.log(-torch.expm1(-width)), 0.0)
        # each channel is a mixture whose weights are what the channels before it leave likely
        log_weights, found = F.log_softmax(logits, 1), []
        for c in range(self.channels):
            joint = log_weights + log_level[:, c]
            found.append(torch.logsumexp(joint, 1))
            log_weights = F.log_softmax(joint, 1)
        return torch.stack(found, 1)

    def draw(self, params: Tensor, u: Tensor) -> Tensor:
        logits, means, log_scales, shifts = self._parts(params)
        cumulative = torch.softmax(logits, 1).cumsum(1)
        component = (u[:, :1] >= cumulative[:, :-1]).sum(1, keepdim=True)  # (n, 1)

        def pick(t: Tensor) -> Tensor:
            return t.gather(2, component.unsqueeze(1).expand(-1, t.shape[1], -1)).squeeze(2)

        means, scales, shifts = pick(means), pick(log_scales).exp(), pick(shifts)
        logistic = torch.logit(u[:, 1:])
        found: list[Tensor] = []
        for c in range(self.channels):
            mean = means[:, c]
            for j in range(c):
                mean = mean + shifts[:, c * (c - 1) // 2 + j] * self._carried(found[j], u.dtype)
            value = mean + scales[:, c] * logistic[:, c]
            found.append(((value + 1) * (self.count - 1) / 2).round().clamp(0, self.count - 1).long())
        return torch.stack(found, 1)

    def _parts(self, params: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Returns logits `(n, K, ...)`, means and log scales `(n, C, K, ...)`, shifts `(n, C (C - 1) / 2, K, ...)`."""

        k, c = self.components, self.channels
        logits, rest = params[:, :k], params[:, k:].unflatten(1, (2 * c + self.shifts, k))
        return logits, rest[:, :c], rest[:, c : 2 * c].clamp(-7.0, 7.0), rest[:, 2 * c :].tanh()

    def _carried(self, index: Tensor, dtype: torch.dtype) -> Tensor:
        """Maps levels to [-1, 1]."""

        return index.to(dtype) * (2 / (self.count - 1)) - 1

    def _shifted(self, means: Tensor, shifts: Tensor, v: Tensor) -> Tensor:
        rows = [means[:, 0]]
        for c in range(1, self.channels):
            first = c * (c - 1) // 2
            rows.append(means[:, c] + (shifts[:, first : first + c] * v[:, :c]).sum(1))
        return torch.stack(rows, 1)


def at_least_single(x: Tensor) -> Tensor:
    """Returns half-precision numbers, as autocast leaves them, in single precision."""

    return x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
