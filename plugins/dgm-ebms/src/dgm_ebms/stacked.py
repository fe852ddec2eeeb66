r"""Stacked restricted Boltzmann machines: deep belief networks, one machine on the hidden units of another."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar

import msgspec
import torch
from torch import Tensor
from torch.nn import functional as F

from dgmcore import Likelihood, Model, Noise
from dgmcore.errors import UsageError
from dgmcore.sampling.stream_noise import StreamNoise

from .rbm import RBM

__all__ = ["StackedRBM"]


class StackedRBM(Model):
    r"""A machine whose hidden units are the pixels of another machine, or of a stack (thesis 2.3.1; [1]).

    The lower machine keeps its conditional, :math:`p(v_i = 1 | h) = \sigma(b_i + (W h)_i)`, and gets a better prior of
    its hidden units than its own: :math:`p(v) = \sum_h p(v | h) \, p_{upper}(h)`. Samples are the ends of Gibbs chains
    of the machine on top, and a pass down.

    With the lower machine's :math:`q(h | v) = \prod_j \sigma(c_j + (v^T W)_j)` as the posterior,

    .. math:: \log p(v) \ge E_{q(h | v)} [\log p(v | h) + \log p_{upper}(h) - \log q(h | v)],

    of which `k` draws make the importance-weighted bound [2, section 5; 3]. It rests on the upper machine's log Z,
    which is estimated unless a layer is small, so it is called an estimate.

    Parts:
        lower: A trained machine, such as `rbm-mnist`; it stays as it is.
        upper: A machine whose data are the lower one's hidden units, or a stack of such.

    References:
        [1] A Fast Learning Algorithm for Deep Belief Nets (Hinton, Osindero and Teh, 2006)
        [2] On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008)
        [3] Importance Weighted Autoencoders (Burda et al., 2015), https://arxiv.org/abs/1509.00519
    """

    Sampling = RBM.Sampling

    class Scoring(RBM.Scoring):
        #: Draws of the hidden units; with 1 it is the bound of the mean.
        k: Annotated[int, msgspec.Meta(ge=1, le=10_000)] = 1

    Parts: ClassVar[Mapping[str, tuple[str, ...]]] = {
        "lower": ("generator", "critic"),
        "upper": ("generator", "density"),
    }
    example_parts: ClassVar[Mapping[str, Any]] = {
        "lower": {"architecture": "rbm", "config": {"event_shape": [1, 3, 3], "hidden": 6}},
        "upper": {"architecture": "rbm", "config": {"event_shape": [6], "hidden": 4}},
    }
    dtypes = RBM.dtypes
    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    base_measure = "counting"
    phases: ClassVar[Mapping[str, str]] = {"likelihood": "dgm_ebms.training:PersistentContrastiveDivergence"}

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        lower, upper = self.parts["lower"], self.parts["upper"]
        if not isinstance(lower, RBM) or not isinstance(upper, (RBM, StackedRBM)):
            odd = type(upper if isinstance(lower, RBM) else lower).__name__
            raise UsageError(
                f"StackedRBM: {odd} is no Boltzmann machine", "give machines: rbm below, rbm or stacked above"
            )
        if math.prod(upper.event_shape) != len(lower.hidden_bias):
            raise UsageError(
                f"StackedRBM: the upper machine is for {math.prod(upper.event_shape)} units, not for the "
                f"{len(lower.hidden_bias)} hidden units below",
                f"give it the event_shape [{len(lower.hidden_bias)}]",
            )
        self.lower, self.upper = lower, upper
        self.event_shape, self.data_range, self.data_levels = lower.event_shape, lower.data_range, 2

    @property
    def top(self) -> RBM:
        """The machine on top, which training moves."""
        return self.upper.top if isinstance(self.upper, StackedRBM) else self.upper

    @torch.no_grad()
    def up(self, x: Tensor, noise: Noise) -> Tensor:
        """Draws data of the machine on top, given data `(n, *event_shape)`."""

        logits = self._logits(x)
        x = self.upper.data((noise.uniform(logits.shape[1]).to(logits) < logits.sigmoid()).to(logits))
        return self.upper.up(x, noise) if isinstance(self.upper, StackedRBM) else x

    def data(self, v: Tensor) -> Tensor:
        """Maps visible states `(n, D)` of 0 and 1 to data, `(n, *event_shape)`."""
        return self.lower.data(v)

    def _logits(self, x: Tensor) -> Tensor:
        """Returns the logits of the lower machine's hidden units, `(n, H)`."""
        return self.lower.hidden_bias + self.lower.places(x) @ self.lower.weight

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the bound, with an estimated normaliser, in nats, `(n,)`.

        Raises:
            DataError: If a value is neither of the two levels.
        """

        o = self.scoring(options)
        noise = noise or StreamNoise(0, len(x), device=x.device, dtype=x.dtype)
        self.lower.check_levels(x)
        v, logits = self.lower.places(x).round(), self._logits(x)
        below = {"chains": o.chains, "temperatures": o.temperatures}
        terms = []
        for _ in range(o.k):
            h = (noise.uniform(logits.shape[1]).to(logits) < logits.detach().sigmoid()).to(logits)
            log_v = -_cross_entropy(self.lower.visible_bias + h @ self.lower.weight.T, v)
            log_h = self.upper.log_prob(self.upper.data(h), noise=noise, **below)
            terms.append(log_v + log_h + _cross_entropy(logits, h))
        return torch.stack(terms).logsumexp(0) - math.log(o.k)

    @torch.no_grad()
    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields what the states of the chain on top stand for, all drawn with one noise on the way down."""

        o = self.sampling(options)
        b, weight = self.lower.visible_bias.double(), self.lower.weight.double()
        u = noise.child("down").uniform(len(b)).double()
        for state in self.upper.trajectory(noise.child("upper"), steps=o.steps):
            h = ((state.flatten(1) - self.upper.data_range[0]) > 0).double()
            yield self.data((u < torch.sigmoid(b + h @ weight.T)).double())

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        for x in self.trajectory(noise, **options):  # noqa: B007
            pass
        return x


def _cross_entropy(logits: Tensor, states: Tensor) -> Tensor:
    """Returns minus the log-probability of independent binary units, `(n,)`."""
    return F.binary_cross_entropy_with_logits(logits, states, reduction="none").sum(1)
