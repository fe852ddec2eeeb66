"""The training of auto-encoders whose codes follow a normal, a mixture of normals, or a second VAE."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from dgmcore.config import Config, Count, NonNegative
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

from .codes import RAE, WAE, TwoStageVAE

__all__ = ["MixturePhase", "SecondPhase", "WAEPhase", "multiquadric_mmd"]

#: Scales of the kernel, as in the published code of WAE.
_SCALES = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


def multiquadric_mmd(x: Tensor, y: Tensor) -> Tensor:
    r"""Returns the unbiased squared MMD of two sets `(n, d)` near N(0, I), a scalar.

    The kernel is :math:`\sum_s C_s / (C_s + |x - y|^2)`, :math:`C_s = 2 d s` (Tolstikhin et al., 2018, section 4).
    """

    def kernel(a: Tensor, b: Tensor) -> Tensor:
        squares = a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.mT
        return sum((c / (c + squares.clamp(min=0.0)) for c in (2 * a.shape[1] * s for s in _SCALES)), 0 * squares)

    def others(k: Tensor) -> Tensor:
        return (k.sum() - k.diagonal().sum()) / (len(k) * (len(k) - 1))

    return others(kernel(x, x)) + others(kernel(y, y)) - 2 * kernel(x, y).mean()


class WAEPhase(Phase):
    r"""Minimises :math:`|x - G(E(x))|^2`, summed over a datum's numbers, plus `weight` times the penalty on codes.

    Of WAE-GAN the penalty is :math:`-\log \sigma(D(E(x)))`, the non-saturating loss of an encoder that draws codes.
    """

    class Options(Config):
        weight: NonNegative = 10.0

    model: WAE

    def __init__(self, model: WAE, options: Options):
        super().__init__(model, options)
        adversarial = model.config.penalty == "gan"
        self.optimizers = ("autoencoder", "discriminator") if adversarial else ("autoencoder",)

    def parameters(self) -> dict[str, Any]:
        groups = {"autoencoder": list(self.model.parts["autoencoder"].parameters())}
        if "discriminator" in self.optimizers:
            groups["discriminator"] = list(self.model.discriminator.parameters())
        return groups

    def step(self, step: Step) -> None:
        x, model = step.batch(), self.model
        z = model.encode(x)
        prior = step.noise(len(x)).normal(*z.shape[1:])
        error = (x - model.decode(z)).square().flatten(1).sum(1).mean()
        if "discriminator" in self.optimizers:
            penalty = F.softplus(-model.discriminator(z)).mean()
        else:
            penalty = multiquadric_mmd(z, prior)
        step.log(recon=error.detach(), penalty=penalty.detach(), code_scale=z.detach().std(0).mean())
        step.minimize(error + self.options.weight * penalty, "autoencoder")
        if "discriminator" in self.optimizers:
            logits = model.discriminator(torch.cat([prior, z.detach()])).split(len(x))
            step.minimize(F.softplus(-logits[0]).mean() + F.softplus(logits[1]).mean(), "discriminator")

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return (x - self.model.decode(self.model.encode(x))).square().flatten(1).sum(1)


class MixturePhase(Phase):
    """Fits the mixture of an RAE to codes of data, whose encoder is held fixed.

    It starts where scikit-learn's expectation maximisation ends on `initial` codes, and goes on by maximum likelihood
    over all data.
    """

    class Options(Config):
        initial: Count = 20_000

    model: RAE

    def parameters(self) -> dict[str, Any]:
        return {"model": [self.model.logits, self.model.means, self.model.factors]}

    def codes(self, x: Tensor) -> Tensor:
        coder = self.model.parts["autoencoder"].eval()
        with torch.no_grad():
            return coder.encode(x)

    def setup(self, step: Step) -> None:
        from sklearn.mixture import GaussianMixture

        drawn: list[Tensor] = []
        while sum(map(len, drawn)) < self.options.initial:
            drawn.append(self.codes(step.batch()))
        z = torch.cat(drawn)
        fit = GaussianMixture(self.model.config.components, reg_covar=1e-4, random_state=0).fit(
            z.double().cpu().numpy()
        )
        factors = torch.linalg.cholesky(torch.from_numpy(fit.covariances_))
        logs = torch.diag_embed(factors.diagonal(dim1=1, dim2=2).log())
        with torch.no_grad():
            self.model.logits.copy_(torch.from_numpy(fit.weights_).log())
            self.model.means.copy_(torch.from_numpy(fit.means_))
            self.model.factors.copy_(factors.tril(-1) + logs)

    def step(self, step: Step) -> None:
        loss = -self.model.code_log_prob(self.codes(step.batch())).mean()
        step.log(nll=loss.detach())
        step.minimize(loss)

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.code_log_prob(self.model.encode(x))


class SecondPhase(Phase):
    """Maximises the ELBO of the second VAE on draws of the first one's posteriors; the first is held fixed."""

    model: TwoStageVAE

    def parameters(self) -> dict[str, Any]:
        return {"model": list(self.model.parts["second"].parameters())}

    def averaged(self) -> Any:
        return self.model.parts["second"]

    def step(self, step: Step) -> None:
        x, noise = step.batch(), step.noise()
        base, second = self.model.parts["base"].eval(), self.model.parts["second"]
        with torch.no_grad():
            z = base.infer(x, noise.normal(*base.code_shape)).z
        inferred = second.infer(z, noise.normal(*second.code_shape))
        recon, kl = second.conditional(inferred.z).log_prob(z).mean(), inferred.normal.kl_to_standard().mean()
        step.log(elbo=(recon - kl).detach(), kl=kl.detach())
        step.minimize(kl - recon)

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        base = self.model.parts["base"]
        return -self.model.parts["second"].log_prob(base.encode(x), noise=noise)
