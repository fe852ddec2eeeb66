r"""Adversarial losses as interchangeable objects.

A loss sees logits: :math:`d = D(x)` before any sigmoid, for real data and for samples. With
:math:`\sigma` the sigmoid, :math:`-\log\sigma(d)` is `softplus(-d)` and :math:`-\log(1-\sigma(d))` is `softplus(d)`.

References:
    An Introduction to Deep Generative Modeling (Ruthotto and Haber, 2021), section 5
    Introduction to generative modeling (De Bortoli, 2022), GAN losses
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
    "KernelMMD",
    "LeastSquares",
    "NonSaturating",
    "Saturating",
    "Wasserstein",
    "WassersteinGP",
    "gradient_penalty",
    "r1_penalty",
]


class Adversarial:
    """What a discriminator and a generator minimise; logits have shape `(n,)`, losses are scalars."""

    #: Bound of the discriminator's weights, if they have one.
    clip: float | None = None

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        raise NotImplementedError

    def generator(self, fake: Tensor) -> Tensor:
        raise NotImplementedError

    def generator_against(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        """As :meth:`generator`, for losses that also need the logits of data, which are computed only when asked."""
        return self.generator(fake)

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
    """Least-Squares GAN (Mao et al., 2017): data have the label 1.

    Arguments:
        fake: The label of samples, 0 (equation 9), or -1 (equation 8, and De Bortoli's course).
        target: What the generator wants its samples to be taken for: 1, or with the label -1 it is 0, and the optimum
            is Pearson's divergence.
    """

    def __init__(self, fake: float = 0.0, target: float = 1.0):
        self.fake, self.target = fake, target

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return 0.5 * (real - 1).square().mean() + 0.5 * (fake - self.fake).square().mean()

    def generator(self, fake: Tensor) -> Tensor:
        return 0.5 * (fake - self.target).square().mean()


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


class KernelMMD(Adversarial):
    r"""The squared maximum mean discrepancy of logits, an IPM over the unit ball of a kernel's space (MMD GAN).

    .. math:: E k(d, \tilde d) + E k(d', \tilde d') - 2 E k(d, d'), \quad
        k(a, b) = \sum_\alpha (1 + |a - b|^2 / 2\alpha)^{-\alpha}, \quad \alpha \in \{0.2, 0.5, 1, 2, 5\}

    The discriminator maximises its unbiased estimate, the generator minimises it. Logits are one number where the paper
    has 16, and the gradient penalty is on the logit, not on the witness function.

    References:
        Demystifying MMD GANs (Binkowski et al., 2018), https://arxiv.org/abs/1801.01401, equations 2 and 6
    """

    def __init__(self, weight: float = 10.0):
        self.weight = weight

    def discriminator(self, real: Tensor, fake: Tensor) -> Tensor:
        return -self.discrepancy(real, fake)

    def generator_against(self, fake: Tensor, real: Callable[[], Tensor]) -> Tensor:
        return self.discrepancy(real(), fake)

    def penalty(self, score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, noise: Noise) -> Tensor:
        return self.weight * gradient_penalty(score, real, fake, noise)

    @staticmethod
    def discrepancy(real: Tensor, fake: Tensor) -> Tensor:
        """Returns the unbiased estimate for logits `(n,)` and `(m,)`, n, m > 1, in float32 at least."""

        wide = torch.promote_types(real.dtype, torch.float32)  # in bfloat16 differences of sums of kernels are noise
        real, fake = real.to(wide), fake.to(wide)

        def kernel(a: Tensor, b: Tensor) -> Tensor:
            squares = (a[:, None] - b).square()
            return torch.stack([(1 + squares / (2 * alpha)) ** -alpha for alpha in (0.2, 0.5, 1.0, 2.0, 5.0)]).sum(0)

        def others(d: Tensor) -> Tensor:  # the kernel of a logit and itself is 5
            return (kernel(d, d).sum() - 5 * len(d)) / (len(d) * (len(d) - 1))

        return others(real) + others(fake) - 2 * kernel(real, fake).mean()


def gradient_penalty(score: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, noise: Noise) -> Tensor:
    r"""Returns :math:`E(\|\nabla_{\hat x} D(\hat x)\| - 1)^2` at points on the lines between real data and samples."""

    u = noise.uniform(*[1] * (real.ndim - 1))
    x = (u * real + (1 - u) * fake).detach().requires_grad_()
    (grad,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return (grad.flatten(1).norm(dim=1) - 1).square().mean()


def r1_penalty(score: Callable[[Tensor], Tensor], real: Tensor) -> Tensor:
    r"""Returns :math:`E \|\nabla_x D(x)\|^2` over data, R1 but for its weight :math:`\gamma / 2`.

    References:
        Which Training Methods for GANs do actually Converge? (Mescheder et al., 2018), equation 9
    """

    x = real.detach().requires_grad_()
    (grad,) = torch.autograd.grad(score(x).sum(), x, create_graph=True)
    return grad.square().flatten(1).sum(1).mean()


#: Losses by the name that a recipe gives; each takes the options of :class:`~dgm_gans.training.AdversarialPhase`.
LOSSES: dict[str, Callable[..., Adversarial]] = {
    "saturating": lambda o: Saturating(o.smoothing),
    "non-saturating": lambda o: NonSaturating(o.smoothing),
    "least-squares": lambda o: LeastSquares(*((-1.0, 0.0) if o.labels == "pearson" else ())),
    "hinge": lambda o: Hinge(),
    "wasserstein": lambda o: Wasserstein(),
    "wasserstein-gp": lambda o: WassersteinGP(o.penalty),
    "mmd": lambda o: KernelMMD(o.penalty),
}
