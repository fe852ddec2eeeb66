r"""Auto-encoders whose codes follow a flow: GLF, and VAEs with a flow as the prior.

.. math:: x = G(f^{-1}(\epsilon)), \qquad \epsilon \sim N(0, I)

References:
    [1] Generative Latent Flow (Xiao, Yan & Amit, 2019), https://arxiv.org/abs/1905.10485
    [2] Thesis (Xiao, 2022), chapter 3
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor

from dgmcore import Likelihood, Model, Noise
from dgmcore.config import Count, NonNegative, Options
from dgmcore.errors import UsageError
from dgmcore.noise import IndexedNoise

__all__ = ["GLF", "VAEFlow"]


class LatentFlow(Model):
    """What both have: an auto-encoder in `parts[coder]`, and a flow of its codes."""

    coder: ClassVar[str]
    noise_shapes: Mapping[str, Any]

    class Sampling(Options):
        temperature: NonNegative = 1.0  # standard deviation of the flow's noise

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        coder, flow = self.parts[self.coder], self.parts["flow"]
        codes = getattr(coder, "code_shape", None)
        if codes is None or tuple(codes) != tuple(flow.event_shape):
            has = "no one vector as its code" if codes is None else f"codes of shape {tuple(codes)}"
            raise UsageError(
                f"{type(self).__name__}: {self.coder} {type(coder).__name__} has {has}, but the flow "
                f"{type(flow).__name__} is for {tuple(flow.event_shape)}",
                "give the flow's dim as many numbers as there are latents",
            )
        self.event_shape = tuple(coder.event_shape)
        self.noise_shapes = {"z": tuple(codes)}

    def encode(self, x: Tensor) -> Tensor:
        r"""Returns the noise :math:`f(E(x))` of the code of `x`, shape `(n, q)`: standard normal for data."""

        return self.parts["flow"].encode(self.parts[self.coder].encode(x))

    def decode(self, z: Tensor) -> Tensor:
        r"""Returns :math:`G(f^{-1}(z))`."""

        return self.parts[self.coder].decode(self.parts["flow"].decode(z))

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        return self.decode(eps["z"])

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Returns data; see :class:`Sampling`."""

        o = self.sampling(options)
        eps = noise.named(self.noise_shapes)
        if getattr(o, "mean", False):
            eps.pop("x", None)
        with torch.no_grad():
            return self.push({**eps, "z": o.temperature * eps["z"]})


class GLF(LatentFlow):
    r"""A deterministic auto-encoder and a flow of its codes, trained together with the gradient stopped between them.

    It has no density of data: they lie on the surface that the decoder spans. Codes of data are what the flow has
    the density of, :meth:`code_log_prob`.

    Parts:
        autoencoder: An encoder with codes that are one vector (it has `code_shape`).
        flow: A flow of such vectors.
    """

    Parts = {"autoencoder": ("encoder",), "flow": ("pushforward", "density", "encoder")}
    coder = "autoencoder"
    phases = {"glf": "dgm_hybrids.training:GLFPhase"}
    example_parts: ClassVar[Mapping[str, Any]] = {
        "autoencoder": {"architecture": "conv-autoencoder", "config": {"latents": 3}},
        "flow": {"architecture": "coupling", "config": {"dim": 3}},
    }
    data_range = (-1.0, 1.0)

    def code_log_prob(self, x: Tensor) -> Tensor:
        r"""Returns :math:`\log p_\eta(E(x))`, the flow's density of the codes, shape `(n,)`."""

        return self.parts["flow"].log_prob(self.parts["autoencoder"].encode(x))


class VAEFlow(LatentFlow):
    r"""A VAE whose prior is a flow, :math:`p(x) = \int p(x \mid z) \, p_\eta(z) \, dz` (eq. 3.3).

    Parts:
        base: A VAE with one vector of latents: it has `infer`, `conditional` and `code_shape`.
        flow: A flow of such vectors.
    """

    Parts = {"base": ("pushforward", "density", "encoder"), "flow": ("pushforward", "density", "encoder")}
    coder = "base"
    likelihood = Likelihood.LOWER_BOUND
    phases = {"elbo": "dgm_hybrids.training:VAEFlowPhase"}
    example_parts: ClassVar[Mapping[str, Any]] = {
        "base": {"architecture": "conv-vae", "config": {"latents": 3, "decoder": "gaussian", "sigma": 0.1}},
        "flow": {"architecture": "coupling", "config": {"dim": 3}},
    }

    class Sampling(LatentFlow.Sampling):
        mean: bool = False  # return the decoder's mean instead of a sample

    class Scoring(Options):
        k: Count = 1  # importance samples; 1 is the ELBO

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        base = self.parts["base"]
        if not hasattr(base, "infer") or not hasattr(base, "conditional"):
            raise UsageError(
                f"VAEFlow: {type(base).__name__} says nothing of its posterior", "use a VAE with one vector of latents"
            )
        self.base_measure = base.base_measure
        if "x" in base.noise_shapes:
            self.noise_shapes = {**self.noise_shapes, "x": base.noise_shapes["x"]}

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"z": (n, q), "x": (n, *event_shape)}` to data; without `"x"`, to the decoder's mean."""

        return self.parts["base"].push({**eps, "z": self.parts["flow"].decode(eps["z"])})

    def terms(self, x: Tensor, eps: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns :math:`\log p(x \mid z)`, :math:`\log p_\eta(z)` and :math:`\log q(z \mid x)`, each `(n,)`.

        Arguments:
            eps: The posterior's noise, `(n, q)`.
        """

        base = self.parts["base"]
        z, log_q, _ = base.infer(x, eps)
        return base.conditional(z).log_prob(x), self.parts["flow"].log_prob(z), log_q

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the ELBO, or with `k` samples the IWAE bound, shape `(n,)`."""

        o = self.scoring(options)
        self.refuse_half("log_prob")
        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        bound = None
        for j in range(o.k):
            recon, log_prior, log_q = self.terms(x, noise.normal(*self.noise_shapes["z"], name=f"z{j}"))
            weight = recon + log_prior - log_q
            bound = weight if bound is None else torch.logaddexp(bound, weight)
        bound = bound - torch.log(bound.new_tensor(float(o.k)))
        # where numbers overflowed, far from all that the model knows: a bound of any density
        return torch.where(bound.isnan() & x.flatten(1).isfinite().all(1), -math.inf, bound)
