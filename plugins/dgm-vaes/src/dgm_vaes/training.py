r"""The training of VAEs with one layer of latents, and of auto-encoders."""

from __future__ import annotations

from typing import Literal

from torch import Tensor

from dgmcore.config import Config, Fraction, NonNegative
from dgmcore.errors import TrainingError
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

from .distributions import Gaussian, standard_normal_log_prob, sum_event
from .vae import VAE

__all__ = ["ELBO", "Reconstruction"]


class ELBO(Phase):
    r"""Maximises :math:`E_q \log p(x \mid z) - \beta\, KL(q(z \mid x) \,\|\, p(z))`.

    The KL term's weight grows linearly from 0 to `beta` over the first `warmup` of the phase. Its gradient:

    - `analytic`: the closed form, for normal posteriors (with a flow: as `total`);
    - `total`: the sampled :math:`\log q - \log p`, differentiated through everything;
    - `path`: the same without the score :math:`\partial_\phi \log q_\phi(z)` at fixed `z`, which has mean zero: the
      variance vanishes as `q` becomes the true posterior [1].

    References:
        [1] Sticking the Landing (Roeder, Wu & Duvenaud, 2017), https://arxiv.org/abs/1703.09194
    """

    class Options(Config):
        beta: NonNegative = 1.0
        warmup: Fraction = 0.0
        gradient: Literal["analytic", "total", "path"] = "analytic"

    model: VAE

    def __init__(self, model: VAE, options: Options):
        super().__init__(model, options)
        if options.gradient == "path" and model.flow is not None:
            raise TrainingError(
                "the path derivative needs a normal posterior, this model's has a flow",
                "set the phase's gradient to total",
            )

    def terms(self, x: Tensor, noise: Noise) -> tuple[Tensor, Tensor]:
        r"""Returns :math:`\log p(x \mid z)` and the KL term for one sample of the posterior, `(n,)` each."""
        z, log_q, q = self.model.infer(x, noise.normal(self.model.config.latents))
        recon = self.model.conditional(z).log_prob(x)
        if self.options.gradient == "analytic" and self.model.flow is None:
            return recon, q.kl_to_standard()
        if self.options.gradient == "path":
            log_q = Gaussian(q.mu.detach(), q.log_sigma.detach()).log_prob(z)
        return recon, log_q - standard_normal_log_prob(z)

    def step(self, step: Step) -> None:
        o, x = self.options, step.batch()
        recon, kl = (t.mean() for t in self.terms(x, step.noise(len(x))))
        beta = o.beta * (min(1.0, step.progress / o.warmup) if o.warmup else 1.0)
        step.minimize(beta * kl - recon)
        step.log(elbo=(recon - kl).detach(), recon=recon.detach(), kl=kl.detach())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x, noise=noise)


class Reconstruction(Phase):
    r"""Minimises :math:`|x - D(E(x))|^2 + w |E(x)|^2` of a deterministic encoder and decoder, each summed over a datum.

    With the weight w the codes stay small, as those of a regularised auto-encoder [1, eq. 11].

    References:
        [1] From Variational to Deterministic Autoencoders (Ghosh et al., 2020), https://arxiv.org/abs/1903.12436
    """

    class Options(Config):
        code_weight: NonNegative = 0.0

    def losses(self, x: Tensor) -> Tensor:
        z = self.model.encode(x)
        return sum_event((x - self.model.decode(z)).square()) + self.options.code_weight * sum_event(z.square())

    def step(self, step: Step) -> None:
        step.minimize(self.losses(step.batch()).mean())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return self.losses(x)
