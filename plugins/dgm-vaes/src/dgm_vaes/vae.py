r"""Variational auto-encoders with one layer of latents."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Count, Depth, NonNegative, Options, Positive, Size
from dgmcore.errors import UsageError
from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise, Noise

from .distributions import Bernoulli, Gaussian, importance_log_prob, standard_normal_log_prob
from .posteriors import Kind, make_flow

__all__ = ["VAE", "Inference", "LogSigma", "VAEConfig"]

LogSigma = Annotated[float, msgspec.Meta(ge=-20.0, le=20.0)]


class VAEConfig(Config):
    """What all of them can be asked for."""

    latents: Size = 2
    decoder: Literal["bernoulli", "gaussian"] = "bernoulli"
    sigma: Literal["global", "output"] | Positive = "global"  # of the Gaussian decoder: learned, an output, or fixed
    log_sigma_min: LogSigma = -7.0  # lower bound of a learned log sigma
    posterior: Kind = "normal"
    flow_steps: Depth = 4  # of a planar, radial or iaf posterior, or of the solver of a cnf one
    posterior_std: Literal["half", "exp"] = "half"  # std = exp(head / 2), or exp(head) as Ruthotto & Haber sample


class Inference(NamedTuple):
    """A sample of the posterior, `(n, q)`, its log-density `(n,)`, and the normal that it started from."""

    z: Tensor
    log_q: Tensor
    normal: Gaussian


class VAE(Model):
    r"""A latent-variable model :math:`p(x) = \int p(x \mid z) N(z; 0, I) dz` with an encoder :math:`q(z \mid x)`.

    A subclass builds `features` (data to `(n, context)`), `heads` (`context` to `2 q`: means, then logarithms
    of variances) and `network` (`(n, q)` to the parameters of `p(x | z)`).

    References:
        Auto-Encoding Variational Bayes (Kingma & Welling, 2014), https://arxiv.org/abs/1312.6114;
        Importance Weighted Autoencoders (Burda et al., 2016), https://arxiv.org/abs/1509.00519
    """

    Config = VAEConfig

    class Sampling(Options):
        temperature: NonNegative = 1.0  # of the prior
        mean: bool = False  # return the decoder's mean instead of a sample

    class Scoring(Options):
        k: Count = 1  # importance samples; 1 is the ELBO
        chunk: Count = 16  # samples of a datum that go through the decoder at once

    phases: ClassVar[Mapping[str, str]] = {"elbo": "dgm_vaes.training:ELBO"}
    likelihood = Likelihood.LOWER_BOUND
    noise_shapes: Mapping[str, Any]

    def _finish(self, event_shape: tuple[int, ...], context: int) -> None:
        """Sets what follows from the config; called at the end of a subclass's `__init__`."""
        c = self.config
        self.event_shape = event_shape
        self.code_shape = (c.latents,)
        if c.decoder == "bernoulli":
            self.base_measure = None  # of grey values it is neither a density nor a probability
            self.data_range = (0.0, 1.0)
        self.noise_shapes = {"z": (c.latents,), **({"x": event_shape} if c.decoder == "gaussian" else {})}
        self.flow = make_flow(c.posterior, c.latents, context, c.flow_steps)
        if c.decoder == "gaussian" and c.sigma == "global":
            self.log_sigma = nn.Parameter(torch.zeros(()))

    @property
    def outputs(self) -> int:
        """How many numbers the decoder gives for each of a datum's."""
        return 2 if self.config.decoder == "gaussian" and self.config.sigma == "output" else 1

    # --- p(x | z) ---------------------------------------------------------------------------------

    def conditional(self, z: Tensor) -> Gaussian | Bernoulli:
        """Returns p(x | z) for latents `(n, q)`."""
        c, raw = self.config, self.network(z)
        if c.decoder == "bernoulli":
            return Bernoulli(raw)
        if c.sigma == "output":
            mu, log_sigma = raw.chunk(2, 1)
        elif c.sigma == "global":
            mu, log_sigma = raw, self.log_sigma.expand_as(raw)
        else:
            mu, log_sigma = raw, raw.new_tensor(float(c.sigma)).log().expand_as(raw)
        if isinstance(c.sigma, str):
            log_sigma = c.log_sigma_min + F.softplus(log_sigma - c.log_sigma_min)
        return Gaussian(self._mean(mu), log_sigma)

    def _mean(self, mu: Tensor) -> Tensor:
        """Bounds the Gaussian decoder's mean to the range of the data."""
        return mu

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"z": (n, q), "x": (n, *event_shape)}` to data; without `"x"`, to the decoder's mean."""
        p = self.conditional(eps["z"])
        return p.push(eps["x"]) if isinstance(p, Gaussian) and "x" in eps else p.mean()

    def joint(self, eps: Mapping[str, Any], log_sigma_min: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns the data of noise with :math:`\log p(z)` and :math:`\log p(x \mid z)`, each `(n,)`.

        With `log_sigma_min` the density is that of a decoder whose log sigma is bounded below, while the data are
        not: what the authors of VAEBM run.
        """
        p = self.conditional(eps["z"])
        if not isinstance(p, Gaussian):
            raise UsageError("data of a Bernoulli decoder are no noise pushed", "use decoder: gaussian")
        x = p.push(eps["x"])
        if log_sigma_min is not None:
            p = Gaussian(p.mu, p.log_sigma.clamp(min=log_sigma_min))
        return x, standard_normal_log_prob(eps["z"]), p.log_prob(x)

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Returns data; see :class:`Sampling`."""
        o = self.sampling(options)
        eps = noise.named(self.noise_shapes)
        if o.mean:
            eps.pop("x", None)
        with torch.no_grad():
            return self.push({**eps, "z": o.temperature * eps["z"]})

    # --- q(z | x) ---------------------------------------------------------------------------------

    def posterior(self, h: Tensor) -> Gaussian:
        """Returns the normal posterior, or the one that the flow starts from, for features `(n, context)`."""
        mu, head = self.heads(h).chunk(2, 1)
        return Gaussian(mu, head if self.config.posterior_std == "exp" else 0.5 * head)

    def infer(self, x: Tensor, eps: Tensor) -> Inference:
        """Returns the sample of the posterior of `x` that the noise `(n, q)` gives."""
        h = self.features(x)
        return self._bend(self.posterior(h), h, eps)

    def _bend(self, q: Gaussian, h: Tensor, eps: Tensor) -> Inference:
        z = q.push(eps)
        log_q = q.log_prob(z)
        if self.flow is not None:
            z, log_det = self.flow(z, h)
            log_q = log_q - log_det
        return Inference(z, log_q, q)

    def encode(self, x: Tensor) -> Tensor:
        """Returns the posterior's mean `(n, q)` (with a flow: what it makes of the normal's mean)."""
        h = self.features(x)
        mu = self.posterior(h).mu
        return mu if self.flow is None else self.flow(mu, h)[0]

    def decode(self, z: Tensor) -> Tensor:
        """Returns the decoder's mean."""
        return self.conditional(z).mean()

    # --- log p(x) ----------------------------------------------------------------------------------

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        r"""Returns the ELBO, or with `k` samples the IWAE bound, shape `(n,)`.

        .. math:: \log \frac1k \sum_{j=1}^k \frac{p(x \mid z_j) p(z_j)}{q(z_j \mid x)}, \qquad z_j \sim q(z \mid x)

        The memory grows with `chunk`, not with `k`; sample `j` is the same for every `chunk`.
        """
        o = self.scoring(options)
        self.refuse_half("log_prob")
        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        h = self.features(x)
        q = self.posterior(h)
        weights: list[Tensor] = []
        for start in range(0, o.k, o.chunk):
            some = range(start, min(start + o.chunk, o.k))
            eps = torch.cat([noise.normal(self.config.latents, name=f"z{j}") for j in some])
            repeated = Gaussian(q.mu.repeat(len(some), 1), q.log_sigma.repeat(len(some), 1))
            z, log_q, normal = self._bend(repeated, h.repeat(len(some), 1), eps)
            recon = self.conditional(z).log_prob(x.repeat(len(some), *[1] * (x.ndim - 1)))
            # one sample leaves the choice of the closed form, which has less variance
            closed = o.k == 1 and self.flow is None
            kl = normal.kl_to_standard() if closed else log_q - standard_normal_log_prob(z)
            weights.extend((recon - kl).chunk(len(some)))
        return importance_log_prob(weights, x)
