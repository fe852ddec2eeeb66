r"""Auto-encoders whose codes follow a density of few words: a normal, a mixture of normals, a second VAE.

What they are compared by in thesis 3.4 (Table 3.1), beside :mod:`~dgm_hybrids.glf`, whose codes follow a flow.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import pairwise
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore import Model, Noise
from dgmcore.config import Config, NonNegative, Options, Widths
from dgmcore.errors import UsageError

__all__ = ["RAE", "WAE", "TwoStageVAE"]

_AUTOENCODER = {"autoencoder": {"architecture": "conv-autoencoder", "config": {"latents": 3}}}


class CodeModel(Model):
    """An encoder in `parts[coder]` whose code is one vector, and :meth:`draw`, which makes data of noise."""

    coder: ClassVar[str] = "autoencoder"
    noise_shapes: Mapping[str, Any]

    class Sampling(Options):
        temperature: NonNegative = 1.0  # standard deviation of the noise "z"

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        coder = self.parts[self.coder]
        codes = getattr(coder, "code_shape", None)
        if codes is None or len(codes) != 1:
            raise UsageError(
                f"{type(self).__name__}: the code of its {self.coder} {type(coder).__name__} is not one vector",
                "use an encoder such as conv-autoencoder",
            )
        self.event_shape, self.data_range = tuple(coder.event_shape), coder.data_range
        self.noise_shapes = {"z": tuple(codes)}

    def encode(self, x: Tensor) -> Tensor:
        """Returns the code of `x`, `(n, q)`."""

        return self.parts[self.coder].encode(x)

    def decode(self, z: Tensor) -> Tensor:
        """Maps codes `(n, q)` to data."""

        return self.parts[self.coder].decode(z)

    def draw(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps noise of `noise_shapes` to data."""

        raise NotImplementedError

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Returns data; see :class:`Sampling`."""

        temperature = self.sampling(options).temperature
        eps = noise.named(self.noise_shapes)
        with torch.no_grad():
            return self.draw({**eps, "z": temperature * eps["z"]})


class WAE(CodeModel):
    r"""A Wasserstein auto-encoder: the codes of all data together, not each datum's, are to be standard normal.

    .. math:: \min E |x - G(E(x))|^2 + \lambda D(E_\# p_{data}, N(0, I))

    where D is a discriminator of codes (WAE-GAN) or the squared MMD of a multiquadric kernel (WAE-MMD).

    Parts:
        autoencoder: An encoder with codes that are one vector.

    References:
        Wasserstein Auto-Encoders (Tolstikhin et al., 2018), https://arxiv.org/abs/1711.01558, algorithms 1 and 2
    """

    Parts = {"autoencoder": ("encoder",)}
    phases: ClassVar[Mapping[str, str]] = {"wae": "dgm_hybrids.codes_training:WAEPhase"}
    example_parts: ClassVar[Mapping[str, Any]] = _AUTOENCODER
    example: ClassVar[Mapping[str, Any]] = {"hidden": [8]}

    class Config(Config):
        penalty: Literal["gan", "mmd"] = "gan"
        hidden: Widths = (256, 256)  # layers of the discriminator of codes

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        if self.config.penalty == "gan":
            sizes = (*self.noise_shapes["z"], *self.config.hidden)
            layers = [layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU())]
            self.discriminator = nn.Sequential(*layers, nn.Linear(sizes[-1], 1), nn.Flatten(0))

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"z": (n, q)}` to data: codes are noise."""

        return self.decode(eps["z"])

    draw = push


class RAE(CodeModel):
    r"""A deterministic auto-encoder with small codes, and afterwards a mixture of normals with all covariances of them.

    Codes are kept small by a penalty on their norm (phase `reconstruction` of the auto-encoder, `code_weight`). The
    mixture is the ex-post density of the paper, fitted by the phase `mixture`.

    Parts:
        autoencoder: An encoder with codes that are one vector.

    References:
        From Variational to Deterministic Autoencoders (Ghosh et al., 2020), https://arxiv.org/abs/1903.12436
    """

    Parts = {"autoencoder": ("encoder",)}
    phases: ClassVar[Mapping[str, str]] = {"mixture": "dgm_hybrids.codes_training:MixturePhase"}
    example_parts: ClassVar[Mapping[str, Any]] = _AUTOENCODER
    example: ClassVar[Mapping[str, Any]] = {"components": 2}

    class Config(Config):
        components: Annotated[int, msgspec.Meta(ge=1, le=1000)] = 10

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        k, (q,) = self.config.components, self.noise_shapes["z"]
        self.noise_shapes = {**self.noise_shapes, "component": ()}
        self.logits, self.means = nn.Parameter(torch.zeros(k)), nn.Parameter(torch.zeros(k, q))
        #: Factors L of the covariances L L^T, with the logarithms of their diagonals on it.
        self.factors = nn.Parameter(torch.zeros(k, q, q))

    def covariance_factors(self) -> Tensor:
        """Returns the lower triangular L of each component, `(k, q, q)`."""

        return self.factors.tril(-1) + torch.diag_embed(self.factors.diagonal(dim1=1, dim2=2).exp())

    def draw(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"z": (n, q), "component": (n,)}` to data: the quantile of the second chooses the component."""

        shares = F.softmax(self.logits, 0).cumsum(0)[:-1]
        chosen = (torch.special.ndtr(eps["component"])[:, None] > shares).sum(1)
        z = self.means[chosen] + torch.einsum("nij,nj->ni", self.covariance_factors()[chosen], eps["z"])
        return self.decode(z)

    def code_log_prob(self, z: Tensor) -> Tensor:
        """Returns the mixture's log-density of codes, `(n, q)` to `(n,)`."""

        factors = self.covariance_factors()
        white = torch.linalg.solve_triangular(factors, (z - self.means[:, None]).mT, upper=False)  # (k, q, n)
        size = z.shape[1] * math.log(2 * math.pi) / 2 + self.factors.diagonal(dim1=1, dim2=2).sum(1)
        each = F.log_softmax(self.logits, 0) - size - white.square().sum(1).mT / 2
        return torch.logsumexp(each, 1)


class TwoStageVAE(CodeModel):
    r"""A VAE whose codes are those of a second one, which has learned where the first one's posteriors lie.

    .. math:: u \sim N(0, I), \quad z \sim p_2(z \mid u), \quad x = E[p_1(x \mid z)]

    The first has a learned sigma and more latents than the data have dimensions; for that, what it draws from its prior
    is bad. The second, whose data fill their space, mends it.

    Parts:
        base: A VAE with one vector of latents: it has `infer` and `code_shape`.
        second: A VAE with a Gaussian decoder for such vectors.

    References:
        Diagnosing and Enhancing VAE Models (Dai & Wipf, 2019), https://arxiv.org/abs/1903.05789, section 4
    """

    coder = "base"
    Parts = {"base": ("pushforward", "density", "encoder"), "second": ("pushforward", "density", "encoder")}
    phases: ClassVar[Mapping[str, str]] = {"second": "dgm_hybrids.codes_training:SecondPhase"}
    example_parts: ClassVar[Mapping[str, Any]] = {
        "base": {"architecture": "conv-vae", "config": {"latents": 3, "decoder": "gaussian"}},
        "second": {"architecture": "mlp-vae", "config": {"dim": 3, "latents": 2, "hidden": [8]}},
    }

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        base, second = self.parts["base"], self.parts["second"]
        if not hasattr(base, "infer") or "x" not in second.noise_shapes or not hasattr(second, "code_shape"):
            raise UsageError(
                f"TwoStageVAE can't be made of {type(base).__name__} and {type(second).__name__}",
                "use VAEs with one vector of latents, the second with decoder: gaussian",
            )
        if tuple(second.event_shape) != tuple(base.code_shape):
            raise UsageError(
                f"TwoStageVAE: the codes have shape {tuple(base.code_shape)}, the second VAE is for "
                f"{tuple(second.event_shape)}",
                "give the second's dim as many numbers as the first has latents",
            )
        self.noise_shapes = {"z": tuple(second.code_shape), "code": tuple(base.code_shape)}

    def encode(self, x: Tensor) -> Tensor:
        """Returns the second code of `x`, `(n, q)`."""

        return self.parts["second"].encode(self.parts["base"].encode(x))

    def decode(self, z: Tensor) -> Tensor:
        """Maps second codes to data, by the means of both decoders."""

        return self.parts["base"].decode(self.parts["second"].decode(z))

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"z": (n, q), "code": (n, p)}` to data: the noise of the second VAE's latents and of its decoder."""

        return self.parts["base"].decode(self.parts["second"].push({"z": eps["z"], "x": eps["code"]}))

    draw = push
