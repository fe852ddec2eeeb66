r"""A base and its critic trained against each other, while the base keeps its likelihood.

References:
    [1] Autoencoding beyond pixels using a learned similarity metric (Larsen et al., 2016),
        https://arxiv.org/abs/1512.09300
    [2] Flow-GAN: Combining Maximum Likelihood and Adversarial Learning in Generative Models (Grover et al., 2018),
        https://arxiv.org/abs/1705.08868
    [3] Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), https://arxiv.org/abs/1801.04406
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore import Likelihood
from dgmcore.config import Config, Count, NonNegative
from dgmcore.errors import OptionError
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

if TYPE_CHECKING:
    from .vaebm import VAEBM

__all__ = ["AdversarialLikelihood", "r1_penalty"]


class AdversarialLikelihood(Phase):
    r"""A non-saturating game of the base's draws against the critic, in which the base keeps its likelihood [1, 2].

    .. math::
        \min_s \; E_{data}[\zeta(-s(x))] + E[\zeta(s(g(\epsilon)))] + \tfrac{\gamma}{2} E_{data} |\nabla s(x)|^2,
        \qquad
        \min_g \; E[\zeta(-s(g(\epsilon)))] - \tfrac{\lambda}{d} E_{data}[\log p_g(x)]

    :math:`\zeta` is softplus, d counts a datum's numbers, and :math:`\log p_g` is the ELBO of a VAE. The likelihood
    alone lets draws be blurred, the game alone lets codes forget the data. Draws are those that the chains start from:
    what the model holds at its mean is at its mean here. EMA follows the base.
    """

    optimizers = ("critic", "base")

    class Options(Config):
        #: Weight lambda of the likelihood, and the steps from one to the next, which is so much heavier ("lazy").
        likelihood_weight: NonNegative = 1.0
        likelihood_every: Count = 1
        #: Weight gamma of R1 [3], and the steps from one to the next.
        r1: NonNegative = 1.0
        r1_every: Count = 16

    model: VAEBM

    def __init__(self, model: VAEBM, options: Options):
        super().__init__(model, options)
        for name in sorted({"base", "critic"} & set(model.shared_parts)):
            raise OptionError(
                f"this phase trains the {name}, which is an entry of its own",
                f"make it a part of this model: parts: {{{name}: {{architecture: ..., init: ENTRY}}}}",
            )

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {name: list(self.model.parts[name].parameters()) for name in self.optimizers}

    def averaged(self) -> nn.Module:
        return self.model.parts["base"]

    def step(self, step: Step) -> None:
        o, score, x = self.options, self.model.critic_score, step.batch()
        with torch.no_grad():
            drawn = self._draws(step, len(x))
        regularize = o.r1 > 0 and step.index % o.r1_every == 0
        real = score(x.requires_grad_(regularize))
        d = F.softplus(-real).mean() + F.softplus(score(drawn)).mean()
        loss = d
        if regularize:
            penalty = r1_penalty(real, x)
            loss = d + o.r1_every * o.r1 / 2 * penalty
            step.log(r1=penalty.detach())
        step.minimize(loss, "critic")

        g = F.softplus(-score(self._draws(step, len(x)))).mean()
        loss = g
        if o.likelihood_weight and step.index % o.likelihood_every == 0:
            nats = self.log_likelihood(x.detach(), step.noise(len(x))).mean() / x[0].numel()
            loss = g - o.likelihood_every * o.likelihood_weight * nats
            step.log(likelihood=nats.detach())
        step.minimize(loss, "base")
        step.log(discriminator=d.detach(), generator=g.detach())

    def log_likelihood(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns the base's log p(x), or a bound of it, `(n,)`."""
        base = self.model.parts["base"]
        return base.log_prob(x) if base.likelihood == Likelihood.EXACT else base.log_prob(x, noise=noise)

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.log_likelihood(x, noise)

    def _draws(self, step: Step, n: int) -> Tensor:
        return self.model.push(step.noise(n).named(self.model.chain_shapes))


def r1_penalty(score: Tensor, x: Tensor) -> Tensor:
    """Returns the mean squared norm of the gradients of scores `(n,)` at the data `x` that have it, a scalar [3]."""
    (gradient,) = torch.autograd.grad(score.sum(), x, create_graph=True)
    return gradient.square().flatten(1).sum(1).mean()
