r"""VAEBM: a VAE tilted by an energy network.

.. math:: p(x, z) \propto p_{VAE}(x, z) \, e^{s_\theta(x)}

References:
    [1] VAEBM: A Symbiosis between Variational Autoencoders and Energy-based Models (Xiao et al., 2021),
        https://arxiv.org/abs/2010.00654
    [2] Thesis (Xiao, 2022), sections 4.3.2 to 4.4
"""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgmcore import Likelihood, Model, Noise
from dgmcore.compose import Nested, Tilted, flatten, frozen, half_square, unflatten
from dgmcore.config import Count, Options
from dgmcore.errors import OptionError, UsageError
from dgmcore.training.energy import ContrastivePhase, ReplayBuffer
from dgmcore.training.phase import Step

__all__ = ["VAEBM", "EnergyPhase"]


class VAEBM(Tilted):
    r"""A VAE tilted by an energy, sampled by Langevin dynamics on the VAE's noises (eq. 4.19).

    Training has two stages: the VAE by its own phase (`base.elbo` in a recipe), unless it is an entry that is
    already trained, then the energy against chains (`energy`) while the VAE is held fixed.

    Two potentials are offered. `exact` is eq. 4.19, :math:`|\epsilon|^2 / 2 - s(g(\epsilon))`. `published` is what
    the authors' code runs, :math:`-\log p(z) - \log p(x \mid z) - s(x)` in :math:`\epsilon`-space: it keeps the
    logarithms of the deviations, which the Jacobian would cancel, with the decoder's bounded below by e^-2.

    Parts:
        base: A VAE: a pushforward that also measures densities (by the ELBO or by IWAE).
        critic: An energy network.
    """

    Parts = {"base": ("pushforward", "density"), "critic": ("critic",)}
    likelihood = Likelihood.UNNORMALIZED
    phases = {"energy": "dgm_hybrids.vaebm:EnergyPhase"}
    example_parts = {
        "base": {"architecture": "mlp-vae", "config": {"hidden": [8]}},
        "critic": {"architecture": "mlp-energy", "config": {"hidden": [8]}},
    }

    class Config(Tilted.Config):
        potential: Literal["exact", "published"] = "exact"

    class Scoring(Options):
        #: Importance samples of the VAE's likelihood; 1 is the ELBO.
        k: Count = 1

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        if self.config.potential == "published" and not hasattr(self.parts["base"], "joint"):
            raise UsageError(
                f"{type(self.parts['base']).__name__} says nothing of its conditional densities",
                "use potential: exact (eq. 4.19), which needs none",
            )

    def log_prob(self, x: Tensor, *, noise: Noise | None = None, **options: Any) -> Tensor:
        """Returns the VAE's log-likelihood (a bound or an estimate) plus the score: unnormalised, `(n,)`."""

        chosen = self.scoring(options)
        base = self.parts["base"]
        extra = {"k": chosen.k} if chosen.k != 1 else {}
        return base.log_prob(x, noise=noise, **extra) + self.config.weight * self.critic_score(x)

    def excess(self, eps: Nested, weight: float = 1.0) -> Tensor:
        if self.config.potential == "exact":
            return super().excess(eps, weight)
        return self.potential(eps, weight) - half_square(eps)

    def potential(self, eps: Nested, weight: float = 1.0) -> Tensor:
        if self.config.potential == "exact":
            return super().potential(eps, weight)
        x, log_prior, log_likelihood = self.parts["base"].joint(self.complete(eps), log_sigma_min=-2.0)
        return -log_prior - log_likelihood - (weight * self.config.weight) * self.critic_score(x)


class EnergyPhase(ContrastivePhase):
    r"""Maximum likelihood of the energy while the VAE is held fixed (thesis 4.3.3, eq. 4.17).

    Chains start at fresh noise. With a buffer, the latents' noise starts from stored ends of chains with a
    probability that grows linearly to `buffer_probability` over `buffer_anneal` steps; pixel noise is always fresh.

    With `loss: ratio` the score tells data from negatives by logistic regression. With no steps the negatives are
    the VAE's own samples, so the score learns :math:`\log p_{data} - \log p_{VAE}`, which is what the tilt needs:
    noise-contrastive estimation (eq. 2.43) with the VAE as the noise, a cheap start for the chains.

    `kl_weight` adds the generator's loss of eq. 4.30 on the VAE, which must then be trained here, not shared.
    """

    class Options(ContrastivePhase.Options):
        spectral_weight: float = 0.2
        adam_clip: float | None = 3.0
        loss: Literal["likelihood", "ratio"] = "likelihood"
        steps: int = 10
        step_size: float = 5e-6
        temperature: float = 1.0
        #: The largest magnitude of an entry of a chain's gradient.
        gradient_clip: float | None = None
        #: Scale of the noise where chains start, by name ("x": 0 starts at the decoder's mean).
        start: dict[str, float] = {}
        #: What enters the loss: the end of the chain, or the decoder's mean there.
        negatives: Literal["sample", "mean"] = "sample"
        #: What stands for the data: themselves, or the VAE's reconstructions of them. The latter keep the energy to
        #: what the latents can repair, where the decoder's mean is too smooth to pass for data at all.
        positives: Literal["data", "reconstruction"] = "data"
        #: Deviation of Gaussian noise on data and negatives alike.
        data_noise: float = 0.0
        buffer_size: int | None = None
        buffer_probability: float = 0.6
        buffer_anneal: int = 5000
        kl_weight: float = 0.0

    def __init__(self, model: Any, options: Any):
        super().__init__(model, options)
        if options.kl_weight:
            if "base" in model.shared_parts:
                raise OptionError(
                    "kl_weight changes the VAE, which is an entry of its own",
                    "make it a part of this model: parts: {base: {architecture: ..., init: ENTRY}}",
                )
            self.optimizers = ("model", "base")
        if options.positives == "reconstruction" and not model.parts["base"].can("encoder"):
            raise OptionError(f"{type(model.parts['base']).__name__} can't reconstruct", "use positives: data")

    def critic(self) -> Any:
        return self.model.parts["critic"]

    def score(self, x: Tensor) -> Tensor:
        return self.model.critic_score(x)

    def averaged(self) -> nn.Module:
        return self.critic()

    def parameters(self):
        groups = {"model": list(self.critic().parameters())}
        if self.options.kl_weight:
            groups["base"] = list(self.model.parts["base"].parameters())
        return groups

    def step(self, step: Step) -> None:
        o = self.options
        self.model.parts["base"].eval()
        x = step.batch()
        noise = step.noise(len(x))
        negatives = self.negatives(step, noise)
        if o.positives == "reconstruction":
            with torch.no_grad():
                base = self.model.parts["base"]
                x = base.decode(base.encode(x))
        if o.data_noise:
            x = x + o.data_noise * noise.normal(*x.shape[1:])
            negatives = negatives + o.data_noise * noise.normal(*x.shape[1:])
        step.minimize(self.contrast(step, x, negatives))
        if o.kl_weight:
            fresh = noise.child("kl").named(self.model.chain_shapes)
            with frozen(self.critic()):
                loss = -self.score(self.model.push(fresh)).mean()
                step.minimize(o.kl_weight * loss, "base")

    def contrast(self, step: Step, data: Tensor, negatives: Tensor) -> Tensor:
        if self.options.loss == "likelihood":
            return super().contrast(step, data, negatives)
        up, down = self.score(torch.cat([data, negatives])).split([len(data), len(negatives)])
        step.log(score_data=up.mean().detach(), score_negatives=down.mean().detach())
        loss = F.softplus(-up).mean() + F.softplus(down).mean()
        return loss + self.regularization(step, up, down)

    def negatives(self, step: Step, noise: Noise) -> Tensor:
        """Returns the ends of chains, `(n, *event_shape)`."""

        o, model = self.options, self.model
        chosen = model.Sampling(
            steps=o.steps,
            step_size=o.step_size,
            temperature=o.temperature,
            gradient_clip=o.gradient_clip,
            start=o.start,
        )
        eps = model.start(noise, chosen)
        stored = {name for name in eps if name != "x"}
        if o.buffer_size:
            latents = flatten({name: eps[name] for name in stored})
            if self.buffer is None:
                self.buffer = ReplayBuffer(o.buffer_size, {k: v.shape[1:] for k, v in latents.items()})
            probability = o.buffer_probability * min(1.0, step.index / max(o.buffer_anneal, 1))
            eps = {**eps, **unflatten(self.buffer.mix(latents, probability, noise))}
        for state in model.chain(eps, noise, chosen):
            eps = state
        if self.buffer is not None:
            self.buffer.put(flatten({name: eps[name] for name in stored}))
        with torch.no_grad():
            return model.push(eps, ("x",) if o.negatives == "mean" and "x" in eps else ())
