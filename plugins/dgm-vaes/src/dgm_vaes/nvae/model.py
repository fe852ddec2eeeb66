r"""NVAE, a deep hierarchical variational auto-encoder."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Annotated, Any, ClassVar, Literal

import msgspec
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.config import Config, Count, Depth, NonNegative, Options, Real, Size, Whole, Widths
from dgmcore.errors import UsageError
from dgmcore.interfaces import Likelihood
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise, Noise

from ..distributions import Bernoulli, DiscretizedLogistics, Gaussian, importance_log_prob, soft_clamp
from ..vae import LogSigma
from .flows import FlowPair
from .layers import DecoderCombiner, EncoderCombiner, elu_conv
from .readjust import Readjustment
from .structure import Structure
from .terms import Terms, full

__all__ = ["NVAE", "Terms"]

Cells = Annotated[int, msgspec.Meta(ge=0, le=1_024)]
Scales = Annotated[int, msgspec.Meta(ge=1, le=16)]
Blocks = Annotated[int, msgspec.Meta(ge=0, le=16)]
Levels = Annotated[int, msgspec.Meta(ge=2, le=65_536)]


class NVAE(Model):
    r"""A VAE whose latents :math:`z_1, \dots, z_L` are images of growing size [1].

    .. math:: p(x, z) = p(x \mid z) \prod_l p(z_l \mid z_{<l}), \qquad q(z \mid x) = \prod_l q(z_l \mid z_{<l}, x)

    All conditionals are normal, and the posterior of a group is relative to its prior:
    :math:`N(\mu_p + \mu_q, \sigma_p \sigma_q)`. Scales count from the finest, as in the published code; the decoder
    walks them from the coarsest. Data are in [-1, 1], or in [0, 1] for the Bernoulli decoder.

    The defaults of `Config` are the published structure (batch norm, depthwise cells in the decoder, plain stem); group
    norm, 3x3 cells throughout, and a stem and a head that work on patches make a net that one CPU core can train.

    References:
        [1] NVAE: A Deep Hierarchical Variational Autoencoder (Vahdat & Kautz, 2020), https://arxiv.org/abs/2007.03898
    """

    class Config(Config):
        event_shape: tuple[Size, Size, Size] = (3, 64, 64)
        channels: Size = 32  # of the stem; doubled with every halving of the size
        widths: Widths | None = None  # the channels at every size, from the finest, instead
        latents: Size | Widths = 20  # channels of a group's latent, or per scale from the finest
        groups: Depth | tuple[Depth, ...] = 5  # groups of a scale, or per scale from the finest
        scales: Scales = 3
        encoder_cells: Cells = 2  # cells of a group
        decoder_cells: Cells = 2
        blocks: Blocks = 1  # blocks before and after; each halves or doubles the size
        block_cells: Depth = 2  # cells of such a block
        expand: Cells = 6  # of the decoder's depthwise cells; 0: 3x3 cells
        post_expand: Cells = 3  # of the cells after it; 0: 3x3 cells
        norm: Literal["batch", "group"] = "batch"
        weight_norm: bool = True
        squeeze_excite: bool = True
        residual_scale: Real = 0.1
        residual_posterior: bool = True
        flows: Cells = 0  # pairs of autoregressive cells per group of the posterior
        patch: Size = 1  # the stem reads and the head writes patches of this size
        pad: Cells = 0  # the image is padded on every side (MNIST: 2)
        decoder: Literal["gaussian", "logistics", "bernoulli"] = "gaussian"
        mixtures: Depth = 10  # of logistics
        levels: Levels = 256  # of the logistics
        log_sigma_min: LogSigma | None = None  # lower bound of the Gaussian decoder's log sigma
        temperatures: tuple[NonNegative, ...] | None = None  # of the priors in drawing, per scale from the finest

    class Sampling(Options):
        temperature: NonNegative = 1.0  # of the prior
        mean: bool = False  # return the decoder's mean instead of a sample
        readjust_bn: Whole = 0  # batch-norm statistics are taken from so many batches of samples first

    class Scoring(Options):
        k: Count = 1  # importance samples; 1 is the ELBO

    phases: ClassVar[Mapping[str, str]] = {"elbo": "dgm_vaes.nvae.training:HierarchicalELBO"}
    likelihood = Likelihood.LOWER_BOUND
    noise_shapes: Mapping[str, Any]
    example: ClassVar[Mapping[str, Any]] = {
        "event_shape": [3, 8, 8],
        "channels": 8,
        "latents": 2,
        "groups": [2, 1],
        "scales": 2,
        "encoder_cells": 1,
        "decoder_cells": 1,
        "expand": 2,
    }

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        c, structure = self.config, Structure(self.config)
        self.event_shape = c.event_shape
        # logistics are those of the levels; a Bernoulli likelihood of grey values is no probability of them
        self.base_measure = {"gaussian": "lebesgue", "logistics": "counting", "bernoulli": None}[c.decoder]
        #: The scale of each group, the coarsest first, for balancing; and the temperatures of their priors.
        self.group_scales, self.temperatures = structure.group_scales, structure.temperatures
        latents = {f"{i:02d}": structure.latent_shape(scale) for i, scale in enumerate(self.group_scales)}
        self.noise_shapes = {"z": latents}
        if structure.pixels:
            self.noise_shapes["x"] = (structure.pixels, *c.event_shape[1:])
        self._build_encoder(structure)
        self._build_decoder(structure)
        self._readjustment = Readjustment()

    def _build_encoder(self, structure: Structure) -> None:
        """Makes what leads from an image to the coarsest features."""
        c, s, style = self.config, structure, structure.style
        self.stem = style.conv(c.event_shape[0] * c.patch**2, s.widths[0], 3)
        self.pre_process = nn.Sequential()
        for level in range(c.blocks):
            self.pre_process.extend([*s.cells(c.block_cells - 1, level), s.down(level)])
        self.encoder = nn.ModuleList()
        for scale in range(c.scales):
            coarsest, level = scale == c.scales - 1, s.level(scale)
            for group in range(s.groups[scale]):
                self.encoder.extend(s.cells(c.encoder_cells, level))
                if not (coarsest and group == s.groups[scale] - 1):
                    self.encoder.append(EncoderCombiner(s.widths[level], style))
            if not coarsest:
                self.encoder.append(s.down(level))
        self.top = elu_conv(s.widths[-1], s.widths[-1], 1, style)

    def _build_decoder(self, structure: Structure) -> None:
        """Makes what leads from the coarsest size back to an image, with the priors and posteriors on the way."""
        c, s, style = self.config, structure, structure.style
        self.prior = nn.Parameter(torch.rand(s.widths[-1], *s.coarsest))
        self.decoder = nn.ModuleList()
        self.posteriors, self.priors, self.flows = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        for i, scale in enumerate(s.group_scales):
            level, q = s.level(scale), s.latents[scale]
            if i and scale != s.group_scales[i - 1]:
                self.decoder.append(s.up(level + 1, c.expand))
            if i:
                self.decoder.extend(s.cells(c.decoder_cells, level, c.expand))
                self.priors.append(elu_conv(s.widths[level], 2 * q, 1, style))
            self.decoder.append(DecoderCombiner(s.widths[level], q, style))
            self.posteriors.append(style.conv(s.widths[level], 2 * q, 3))
            self.flows.append(nn.Sequential(*(FlowPair(q) for _ in range(c.flows))))
        self.post_process = nn.Sequential()
        for level in reversed(range(c.blocks)):
            self.post_process.append(s.up(level + 1, c.post_expand))
            self.post_process.extend(s.cells(c.block_cells - 1, level, c.post_expand))
        self.head = elu_conv(s.widths[0], s.outputs * c.patch**2, 3, style)

    # --- from latents to images ------------------------------------------------------------------

    def _expand_prior(self, n: int) -> Tensor:
        return self.prior.unsqueeze(0).expand(n, -1, -1, -1)

    def _prior_parameters(self, group: int, h: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the mean and the log sigma, before the clamps, of a group's prior given the features `h`."""
        if group:
            mu, log_sigma = self.priors[group - 1](h).chunk(2, 1)
            return full(mu), full(log_sigma)
        zeros = h.new_zeros(h.shape[0], *self.noise_shapes["z"]["00"], dtype=self.prior.dtype)
        return zeros, zeros

    def _logits(self, h: Tensor) -> Tensor:
        """Maps the decoder's last features to the parameters of the pixels."""
        logits = self.head(self.post_process(h))
        if self.config.patch > 1:
            logits = F.pixel_shuffle(logits, self.config.patch)
        pad = self.config.pad
        return full(logits[:, :, pad:-pad, pad:-pad] if pad else logits)

    def pixels(self, logits: Tensor) -> Gaussian | DiscretizedLogistics | Bernoulli:
        """Returns p(x | z)."""
        c = self.config
        if c.decoder == "bernoulli":
            return Bernoulli(logits)
        if c.decoder == "logistics":
            return DiscretizedLogistics(logits, c.event_shape[0], c.levels)
        mu, log_sigma = logits.chunk(2, 1)
        if c.log_sigma_min is None:
            return Gaussian.clamped(mu, log_sigma)
        # a smooth bound from below: detail finer than it is left to other models
        return Gaussian(soft_clamp(mu), c.log_sigma_min + F.softplus(log_sigma - c.log_sigma_min))

    def _image(self, logits: Tensor, eps: Tensor | None, mean: bool = False) -> Tensor:
        p = self.pixels(logits)
        if isinstance(p, Bernoulli):
            return p.mean()
        return (p.mean() if mean or eps is None else p.push(eps)).clamp(-1.0, 1.0)

    def latents(self, eps: Mapping[str, Tensor], temperature: float = 1.0) -> dict[str, Tensor]:
        """Maps standard normals of `noise_shapes["z"]` to latents of the prior."""
        return self._generate(eps, temperature)[1]

    def _generate(
        self, eps: Mapping[str, Tensor], temperature: float = 1.0, priors: list[Gaussian] | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        names = list(self.noise_shapes["z"])
        h, z = self._expand_prior(eps[names[0]].shape[0]), {}
        for layer in self.decoder:
            if isinstance(layer, DecoderCombiner):
                name = names[len(z)]
                prior = Gaussian.clamped(*self._prior_parameters(len(z), h))
                z[name] = prior.push(eps[name], temperature * self.temperatures[len(z)])
                if priors is not None:
                    priors.append(prior)
                h = layer(h, z[name])
            else:
                h = layer(h)
        return h, z

    def push(self, eps: Mapping[str, Any]) -> Tensor:
        """Maps `{"z": {group: (n, ...)}, "x": (n, ...)}` to images; without `"x"`, to the decoder's means."""
        h, _ = self._generate(eps["z"])
        return self._image(self._logits(h), eps.get("x"))

    def joint(self, eps: Mapping[str, Any], log_sigma_min: float | None = None) -> tuple[Tensor, Tensor, Tensor]:
        r"""Returns the images of noise with :math:`\log p(z)` and :math:`\log p(x \mid z)`, each `(n,)`.

        With `log_sigma_min` the density of the pixels is that of a decoder whose log sigma is bounded below, while
        the images are not: what the authors of VAEBM run.
        """
        if self.config.decoder != "gaussian":
            raise UsageError(
                f"pixels of the {self.config.decoder} decoder are no noise pushed", "use a Gaussian decoder"
            )
        priors: list[Gaussian] = []
        h, z = self._generate(eps["z"], priors=priors)
        logits = self._logits(h)
        p, x = self.pixels(logits), self._image(logits, eps["x"])
        if log_sigma_min is not None:
            p = Gaussian(p.mu, p.log_sigma.clamp(min=log_sigma_min))
        log_prior = torch.stack([prior.log_prob(code) for prior, code in zip(priors, z.values(), strict=True)]).sum(0)
        return x, log_prior, p.log_prob(x)

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        """Returns images; see :class:`Sampling`."""
        o = self.sampling(options)
        with torch.no_grad(), self._readjusted(o.readjust_bn, o.temperature):
            eps = noise.named(self.noise_shapes)
            h, _ = self._generate(eps["z"], o.temperature)
            return self._image(self._logits(h), eps.get("x"), o.mean)

    def train(self, mode: bool = True) -> NVAE:
        self._readjustment.forget()
        return super().train(mode)

    def _readjusted(self, passes: int, temperature: float) -> AbstractContextManager[None]:
        """The decoder with the statistics of its own samples, which are a function of the weights alone."""
        if not passes or self.config.norm != "batch":
            return nullcontext()

        def draw(i: int) -> None:
            eps = IndexedNoise(0, 16, 16 * i, device=self.device, dtype=self.dtype, scope="readjust_bn")
            self._logits(self._generate(eps.named(self.noise_shapes["z"]), temperature)[0])

        key = (passes, temperature, sum(p._version for p in self.parameters()), self.prior.data_ptr())
        return self._readjustment([self.decoder, self.post_process, self.head], draw, passes, key)

    # --- from images to latents ------------------------------------------------------------------

    def _encode(self, x: Tensor) -> tuple[Tensor, list[tuple[nn.Module, Tensor]]]:
        """Returns the top features, and the combiners with the features they wait with, the coarsest first."""
        c = self.config
        if c.decoder == "bernoulli":
            x = 2.0 * x - 1.0
        if c.pad:
            x = F.pad(x, (c.pad,) * 4, value=-1.0)
        if c.patch > 1:
            x = F.pixel_unshuffle(x, c.patch)
        h, waiting = self.pre_process(self.stem(x)), []
        for layer in self.encoder:
            if isinstance(layer, EncoderCombiner):
                waiting.append((layer, h))
            else:
                h = layer(h)
        return F.elu(self.top(h)), waiting[::-1]

    def infer(self, x: Tensor, eps: Mapping[str, Tensor] | None) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Runs the encoder and the decoder.

        Arguments:
            x: Images `(n, *event_shape)`.
            eps: Standard normals of `noise_shapes["z"]`; None: the posteriors' means.

        Returns:
            The pixels' parameters, the KL divergences `(groups, n)` (closed form without flows, else
            the sampled log q - log p), and the latents.
        """
        return self._descend(*self._encode(x), eps)

    def _descend(
        self,
        features: Tensor,
        waiting: list[tuple[nn.Module, Tensor]],
        eps: Mapping[str, Tensor] | None,
        sampled: bool = False,
    ) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Walks the decoder with the encoder's features; see :meth:`infer`."""
        names = list(self.noise_shapes["z"])
        h, z, divergences = self._expand_prior(features.shape[0]), {}, []
        for layer in self.decoder:
            if not isinstance(layer, DecoderCombiner):
                h = layer(h)
                continue
            group = len(z)
            if group:
                combiner, encoded = waiting[group - 1]
                features = combiner(encoded, h)
            p, q = self._prior_parameters(group, h), full(self.posteriors[group](features)).chunk(2, 1)
            if self.config.residual_posterior:  # added before the clamps
                q = (p[0] + q[0], p[1] + q[1])
            prior, q = Gaussian.clamped(*p), Gaussian.clamped(*q)
            code = q.mu if eps is None else q.push(eps[names[group]])
            bent = self.flows[group](code)
            if self.config.flows or sampled:
                divergences.append(q.log_prob(code) - prior.log_prob(bent))
            else:
                divergences.append(q.kl(prior))
            z[names[group]] = bent
            h = layer(h, bent)
        return self._logits(h), torch.stack(divergences), z

    def log_likelihood(self, x: Tensor, logits: Tensor) -> Tensor:
        r"""Returns :math:`\log p(x \mid z)`, shape `(n,)`, from the pixels' parameters."""
        return self.pixels(logits).log_prob(x)

    def terms(self, x: Tensor, noise: Noise) -> Terms:
        """Returns the terms of the ELBO with one sample of the posterior."""
        logits, kl, _ = self.infer(x, noise.named(self.noise_shapes["z"]))
        return Terms(self.log_likelihood(x, logits), kl)

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        r"""Returns the ELBO, or with `k` samples of the posterior the IWAE bound, shape `(n,)`.

        The encoder runs once, the decoder `k` times one after the other: the memory does not grow with `k`.
        """
        o = self.scoring(options)
        self.refuse_half("log_prob")
        noise = noise or IndexedNoise.like(x, version=self.noise_version)
        features, waiting = self._encode(x)
        weights = []
        for j in range(o.k):
            eps = noise.child(f"{j}").named(self.noise_shapes["z"])
            logits, kl, _ = self._descend(features, waiting, eps, sampled=o.k > 1)
            weights.append(self.log_likelihood(x, logits) - kl.sum(0))
        return importance_log_prob(weights, x)

    def encode(self, x: Tensor) -> dict[str, Tensor]:
        """Returns the latents with every group at its posterior's mean."""
        return self.infer(x, None)[2]

    def decode(self, z: Mapping[str, Tensor]) -> Tensor:
        """Returns the decoder's mean image of latents."""
        h, codes = self._expand_prior(next(iter(z.values())).shape[0]), iter(z.values())
        for layer in self.decoder:
            h = layer(h, next(codes)) if isinstance(layer, DecoderCombiner) else layer(h)
        return self._image(self._logits(h), None)
