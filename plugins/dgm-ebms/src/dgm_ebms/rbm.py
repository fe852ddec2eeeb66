r"""Restricted Boltzmann machines: two layers of binary units, and annealed importance sampling to measure them."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, NamedTuple

import msgspec
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgmcore import Likelihood, Model, Noise
from dgmcore.config import Config, Options, Real, Shape, Size
from dgmcore.errors import DataError, RegistryError
from dgmcore.sampling.stream_noise import StreamNoise

__all__ = ["RBM", "LogZ", "annealed", "enumerated"]

_SMALL = 12  # units of a layer whose states are summed over one by one


class LogZ(NamedTuple):
    """The logarithm of a normaliser, in nats, and its standard error."""

    value: float
    error: float


class RBM(Model):
    r"""A joint distribution of binary pixels v and hidden units h without connections within a layer [1, eq. 2.34]:

    .. math:: p(v, h) = \frac1Z \exp(b^T v + c^T h + v^T W h), \qquad
              \log p(v) = b^T v + \sum_j \log(1 + e^{c_j + (v^T W)_j}) - \log Z,

    the right one being eq. 2.35, and what :meth:`score` is without log Z. Samples are the ends of block Gibbs chains,
    which draw each layer given the other: :math:`p(h_j = 1 | v) = \sigma(c_j + (v^T W)_j)`,
    :math:`p(v_i = 1 | h) = \sigma(b_i + (W h)_i)`.

    Log Z is summed where a layer has at most 12 units, and estimated by annealed importance sampling [2] otherwise:
    once for each seed, since it is the same for all data. The estimate of Z is unbiased; its logarithm tends to be too
    low, and the likelihood too high, by about half the squared error.

    Arguments:
        config: `event_shape`; the number of `hidden` units; the two levels of pixels are the ends of `range`.

    References:
        [1] Thesis (Xiao, 2022), section 2.3.1
        [2] On the Quantitative Analysis of Deep Belief Networks (Salakhutdinov and Murray, 2008), section 4.1
        [3] A Practical Guide to Training Restricted Boltzmann Machines (Hinton, 2012)
    """

    class Config(Config):
        event_shape: Shape = (1, 28, 28)
        hidden: Size = 500
        range: tuple[Real, Real] = (0.0, 1.0)

    class Sampling(Options):
        #: Of the Gibbs chains, each of both layers.
        steps: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 1000

    class Scoring(Options):
        #: Chains of annealed importance sampling, and the temperatures that each goes through.
        chains: Annotated[int, msgspec.Meta(ge=2, le=10_000)] = 100
        temperatures: Annotated[int, msgspec.Meta(ge=1, le=100_000)] = 2000

    example: ClassVar[Mapping[str, Any]] = {"event_shape": [1, 3, 3], "hidden": 6}
    dtypes = (torch.float32, torch.float64)
    likelihood: ClassVar[Likelihood] = Likelihood.ESTIMATE
    base_measure = "counting"
    phases: ClassVar[Mapping[str, str]] = {"likelihood": "dgm_ebms.training:PersistentContrastiveDivergence"}

    base: Tensor

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c = self.config
        if not c.range[0] < c.range[1]:
            raise RegistryError("config of RBM: range: the lower end comes first", "for example [0, 1]")
        self.event_shape, self.data_range, self.data_levels = tuple(c.event_shape), tuple(c.range), 2
        visible = math.prod(self.event_shape)
        self.weight = nn.Parameter(0.01 * torch.randn(visible, c.hidden))
        self.visible_bias = nn.Parameter(torch.zeros(visible))
        self.hidden_bias = nn.Parameter(torch.zeros(c.hidden))
        #: Logits of the pixels' means in the data: where annealed chains start.
        self.register_buffer("base", torch.zeros(visible))
        self._measured: tuple[Any, LogZ] | None = None

    # --- judging ---------------------------------------------------------------------------------

    def score(self, x: Tensor) -> Tensor:
        """Returns minus the free energy, `(n,)`, of data `(n, *event_shape)`; also between the two levels."""

        v = self.places(x)
        return v @ self.visible_bias + F.softplus(self.hidden_bias + v @ self.weight).sum(1)

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns log-probabilities in nats, `(n,)`; only the noise's seed is used.

        Gradients are those of the score alone: log Z is held constant.

        Raises:
            DataError: If a value is neither of the two levels.
        """

        o = self.scoring(options)
        self.check_levels(x)
        log_z = self.log_z(0 if noise is None else noise.seed, o.chains, o.temperatures)
        return (self.score(x).double() - log_z.value).to(x.dtype)

    def check_levels(self, x: Tensor) -> None:
        """Raises a :class:`DataError` if a value of data is neither of the two levels."""

        v = self.places(x.detach())
        off = (v - v.round().clamp(0, 1)).abs()
        if off.numel() and not float(off.max()) <= 1e-3:  # not so for NaN
            datum = int((~(off <= 1e-3)).any(1).nonzero()[0])
            low, high = self.config.range
            raise DataError(
                f"datum {datum} has values other than {low:g} and {high:g}",
                "give data of two levels, as the data set mnist-binary",
            )

    def places(self, x: Tensor) -> Tensor:
        """Maps data to numbers that are 0 and 1 at the two levels, `(n, D)`."""

        low, high = self.config.range
        return ((x - low) / (high - low)).flatten(1)

    @torch.no_grad()
    def log_z(self, seed: int = 0, chains: int = 100, temperatures: int = 2000) -> LogZ:
        """Returns log Z with its standard error: exact and 0 for a small layer; the last value is kept."""

        weights = [t.detach() for t in (self.visible_bias, self.hidden_bias, self.weight, self.base)]
        digest = hashlib.blake2b(b"".join(t.cpu().numpy().tobytes() for t in weights)).digest()
        key = (digest, str(self.device), seed, chains, temperatures)
        if self._measured is None or self._measured[0] != key:
            b, c, w, base = weights
            if min(w.shape) <= _SMALL:
                value = LogZ(enumerated(b, c, w), 0.0)
            else:
                noise = StreamNoise(seed, chains, device=self.device, dtype=self.dtype, scope="ais")
                value = annealed(b, c, w, base, noise, temperatures)
            self._measured = key, value
        return self._measured[1]

    # --- sampling --------------------------------------------------------------------------------

    def gibbs(self, v: Tensor, noise: Noise, steps: int) -> Iterator[Tensor]:
        """Yields the visible states of chains after each step from `v`, `(n, D)` of 0 and 1; computes in its dtype."""

        weight, b, c = (t.detach().to(v.dtype) for t in (self.weight, self.visible_bias, self.hidden_bias))
        for _ in range(steps):
            h = (noise.uniform(len(c)) < torch.sigmoid(c + v @ weight)).to(v.dtype)
            v = (noise.uniform(len(b)) < torch.sigmoid(b + h @ weight.T)).to(v.dtype)
            yield v

    @torch.no_grad()
    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the start, pixels drawn with the data's means, and the state after each step.

        In double precision: the rounding of a batch's products could tip a unit over, and with it the whole chain.
        """

        o = self.sampling(options)
        v = (noise.uniform(len(self.base), name="start") < torch.sigmoid(self.base.double())).double()
        yield self.data(v)
        for state in self.gibbs(v, noise.child("gibbs"), o.steps):
            yield self.data(state)

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        for x in self.trajectory(noise, **options):  # noqa: B007
            pass
        return x

    def data(self, v: Tensor) -> Tensor:
        """Maps visible states `(n, D)` of 0 and 1 to data, `(n, *event_shape)`."""

        low, high = self.config.range
        return (low + (high - low) * v).to(self.dtype).view(-1, *self.event_shape)


def enumerated(b: Tensor, c: Tensor, w: Tensor) -> float:
    r"""Returns log Z as the sum over all states of the smaller layer, in double precision.

    Arguments:
        b: Visible biases, `(D,)`.
        c: Hidden biases, `(H,)`.
        w: Weights, `(D, H)`.
    """

    b, c, w = b.double(), c.double(), w.double()
    if len(c) > len(b):
        b, c, w = c, b, w.T
    places = torch.arange(2 ** len(c), device=c.device)
    h = (places[:, None] >> torch.arange(len(c), device=c.device) & 1).double()
    return float((h @ c + F.softplus(b + h @ w.T).sum(1)).logsumexp(0))


def heats(temperatures: int) -> list[float]:
    r"""Returns :math:`\beta_k = 1 - (1 - k / K)^2`, k = 0..K: twice as far apart at first, and closer towards 1."""

    return [1 - (1 - k / temperatures) ** 2 for k in range(temperatures + 1)]


def annealed(b: Tensor, c: Tensor, w: Tensor, base: Tensor, noise: Noise, temperatures: int) -> LogZ:
    r"""Estimates log Z by annealed importance sampling (Salakhutdinov and Murray, 2008, section 4.1).

    From the machine without weights whose visible biases are `base`, and whose normaliser is known, chains go through

    .. math:: \log p^*_\beta(v) = ((1 - \beta) b_0 + \beta b)^T v + \sum_j \log(1 + e^{\beta (c_j + (v^T W)_j)}),

    a Gibbs step at each :math:`\beta_k` of :func:`heats`. The mean of the weights
    :math:`\prod_k p^*_{\beta_{k+1}}(v_k) / p^*_{\beta_k}(v_k)` estimates the ratio of both normalisers.

    Arguments:
        b: Visible biases, `(D,)`.
        c: Hidden biases, `(H,)`.
        w: Weights, `(D, H)`.
        base: :math:`b_0`, `(D,)`.
        noise: Of as many samples as there are chains.
        temperatures: Steps from 0 to 1.

    Returns:
        log Z, and the standard error of the mean weight over that mean.
    """

    def hidden(v: Tensor) -> Tensor:
        return c + v @ w

    v = (noise.uniform(len(b)) < torch.sigmoid(base)).to(b)
    log_w = torch.zeros(noise.n, dtype=torch.float64, device=b.device)
    betas = heats(temperatures)
    inputs = hidden(v)
    for k, (now, then) in enumerate(pairwise(betas)):
        if k:
            h = (noise.uniform(len(c)) < torch.sigmoid(now * inputs)).to(b)
            v = (noise.uniform(len(b)) < torch.sigmoid((1 - now) * base + now * (b + h @ w.T))).to(b)
            inputs = hidden(v)
        ratio = F.softplus(then * inputs) - F.softplus(now * inputs)
        log_w += (then - now) * (v @ (b - base)).double() + ratio.double().sum(1)
    start = float(F.softplus(base.double()).sum()) + len(c) * math.log(2)
    weights = (log_w - log_w.max()).exp()
    mean = weights.mean()
    error = float(weights.std() / (mean * math.sqrt(len(weights))))
    return LogZ(start + float(log_w.max() + mean.log()), error)
