r"""Adversarial losses as interchangeable objects.

A loss sees logits: :math:`d = D(x)` before any sigmoid, for real data and for samples. With
:math:`\sigma` the sigmoid, :math:`-\log\sigma(d)` is `softplus(-d)` and :math:`-\log(1-\sigma(d))` is `softplus(d)`.

References:
    An Introduction to Deep Generative Modeling (Ruthotto and Haber, 2021), section 5
    Introduction to generative modeling (De Bortoli, 2022), GAN losses; see :class:`LeastSquares` for where it differs
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dgmcore.noise import Noise

__all__ = [
    "LOSSES",
    "Adversarial",
    "Hinge",
    "LeastSquares",
    "NonSaturating",
    "Saturating",
    "Wasserstein",
    "WassersteinGP",
    "gradient_penalty",
]


class Adversarial:
    """What a discriminator and a generator minimise; logits have shape `(n,)`, losses are scalars."""

    #: Bound of the discriminator's weights, if they have one.
    clip: float | None = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        raise NotImplementedError

    def generator(self, fake: Tensor) -> Tensor:
        raise NotImplementedError

    @torch.no_grad()
    def constrain(self, discriminator: nn.Module) -> None:
        """Clips the discriminator's weights to `[-clip, clip]`; is called before each of its updates."""

        if self.clip is not None:
            for p in discriminator.parameters():
                p.clamp_(-self.clip, self.clip)

    def penalty(self, score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, noise: Noise) -> Tensor | None:
        """Returns a regulariser of the discriminator, or None."""
        return None


class Saturating(Adversarial):
    r"""The minimax game [1]: D minimises :math:`-E\log\sigma(d) - E\log(1-\sigma(d'))`, G its second term's opposite.

    Arguments:
        smoothing: One-sided label smoothing [2]: the label of real data is `1 - smoothing`.

    References:
        [1] Generative Adversarial Nets (Goodfellow et al., 2014), equation 1
        [2] Improved Techniques for Training GANs (Salimans et al., 2016), section 3.4
    """

    def __init__(self, smoothing: float = 0.0):
        self.smoothing = smoothing

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        labelled = (1 - self.smoothing) * F.softplus(-real) + self.smoothing * F.softplus(real)
        return labelled.mean() + F.softplus(fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -F.softplus(fake).mean()


class NonSaturating(Saturating):
    r"""As :class:`Saturating`, but G minimises :math:`-E\log\sigma(d')`, whose gradient does not vanish."""

    def generator(self, fake: Tensor) -> Tensor:
        return F.softplus(-fake).mean()


class LeastSquares(Adversarial):
    """Least-Squares GAN (Mao et al., 2017), equation 9: labels 1 and 0.

    De Bortoli's course has the variant with the labels 1 and -1 and the target 0 of the generator, whose optimum is
    Pearson's divergence.
    """

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - 1).square().mean() + 0.5 * fake.square().mean()

    def generator(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - 1).square().mean()


class Hinge(Adversarial):
    """Geometric GAN (Lim and Ye, 2017); Spectral Normalization (Miyato et al., 2018), equations 16 and 17."""

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return F.relu(1 - real).mean() + F.relu(1 + fake).mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class Wasserstein(Adversarial):
    """Wasserstein GAN (Arjovsky et al., 2017), algorithm 1: every weight is clipped to `[-clip, clip]`.

    Clipping comes before each update and includes the affine parameters of batch norm, as in the code of
    Ruthotto & Haber; after the update a weight may exceed the bound by one step.
    """

    def __init__(self, clip: float = 0.01):
        self.clip = clip

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return fake.mean() - real.mean()

    def generator(self, fake: Tensor) -> Tensor:
        return -fake.mean()


class WassersteinGP(Wasserstein):
    """Improved Training of Wasserstein GANs (Gulrajani et al., 2017), equation 3: a penalty instead of clipping."""

    def __init__(self, weight: float = 10.0):
        self.weight = weight

    def penalty(self, score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, noise: Noise) -> Tensor:
        return self.weight * gradient_penalty(score, real, fake, noise)


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, noise: Noise) -> Tensor:
    r"""Returns :math:`E(\|\nabla_{\hat x} D(\hat x)\| - 1)^2` at points on the lines between real data and samples."""

    u = noise.uniform(*[1] * (real.ndim - 1))
    x = (u * real + (1 - u) * fake).detach().requires_grad_()
    (grad,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return (grad.flatten(1).norm(dim=1) - 1).square().mean()


#: Losses by the name that a recipe gives; each takes the options of :class:`~dgm_gans.training.Options`.
LOSSES: dict[str, Callable[..., Adversarial]] = {
    "saturating": lambda o: Saturating(o.smoothing),
    "non-saturating": lambda o: NonSaturating(o.smoothing),
    "least-squares": lambda o: LeastSquares(),
    "hinge": lambda o: Hinge(),
    "wasserstein": lambda o: Wasserstein(),
    "wasserstein-gp": lambda o: WassersteinGP(o.penalty),
}
