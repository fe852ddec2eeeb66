r"""VAEBM: a VAE tilted by an energy network.

.. math:: p(x, z) \propto p_{VAE}(x, z) \, e^{s_\theta(x)}

References:
    [1] VAEBM: A Symbiosis between Variational Autoencoders and Energy-based Models (Xiao et al., 2021),
        https://arxiv.org/abs/2010.00654
    [2] Thesis (Xiao, 2022), sections 4.3.2 to 4.4
"""

from __future__ import annotations

from typing import Any, Literal

from torch import Tensor

from dgmcore import Likelihood, Model, Noise
from dgmcore.compose import Nested, Tilted, half_square
from dgmcore.config import Count, Options
from dgmcore.errors import OptionError, UsageError

__all__ = ["VAEBM"]


class VAEBM(Tilted):
    r"""A VAE tilted by an energy, sampled by Langevin dynamics on the VAE's noises (eq. 4.19).

    Training has two stages: the VAE by its own phase (`base.elbo` in a recipe), unless it is an entry that is
    already trained, then the energy against chains (`energy`) while the VAE is held fixed. Between them `adversarial`
    can sharpen the VAE's draws against the energy.

    Two potentials are offered. `exact` is eq. 4.19, :math:`|\epsilon|^2 / 2 - s(g(\epsilon))`. `published` is what
    the authors' code runs, :math:`-\log p(z) - \log p(x \mid z) - s(x)` in :math:`\epsilon`-space: it keeps the
    logarithms of the deviations, which the Jacobian would cancel, with the decoder's bounded below by e^-2.

    Parts:
        base: A VAE: a pushforward that also measures densities (by the ELBO or by IWAE); or a flow (section 4.4.2).
        critic: An energy network.
    """

    Parts = {"base": ("pushforward", "density"), "critic": ("critic",)}
    likelihood = Likelihood.UNNORMALIZED
    phases = {
        "energy": "dgm_hybrids.training:EnergyPhase",
        "adversarial": "dgm_hybrids.adversarial:AdversarialLikelihood",
    }
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
        extra: dict[str, Any] = {"k": chosen.k} if chosen.k != 1 else {}
        if base.likelihood == Likelihood.EXACT and extra:
            raise OptionError(
                f"k={chosen.k} is for a bound: {type(base).__name__} has an exact density", "leave it out"
            )
        if base.likelihood != Likelihood.EXACT:  # which no noise is needed for
            extra["noise"] = noise
        return base.log_prob(x, **extra) + self.config.weight * self.critic_score(x)

    def judged(self, eps: Nested, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        if self.config.potential == "exact":
            return super().judged(eps, weight)
        x, log_prior, log_likelihood = self.parts["base"].joint(self.complete(eps), log_sigma_min=-2.0)
        score = (weight * self.config.weight) * self.critic_score(x)
        return -log_prior - log_likelihood - score - half_square(eps), x
