"""How energies are trained: maximum likelihood by chains, score matching, noise contrast."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from dgmcore.training.energy import ContrastivePhase, ReplayBuffer
from dgmcore.training.phase import Step

__all__ = ["DenoisingScoreMatching", "MaximumLikelihood", "NoiseContrastive"]


class _EnergyPhase(ContrastivePhase):
    """Trains the whole of an :class:`~dgm_ebms.EBM`, or an energy network alone."""

    def critic(self) -> Any:
        return self.model.parts["energy"]

    def score(self, x: Tensor) -> Tensor:
        return self.model.score(x)

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": list(self.model.parameters())}


class MaximumLikelihood(_EnergyPhase):
    """Maximum likelihood with negatives from Langevin dynamics (thesis 2.3.2; De Bortoli, Algorithm 1).

    - `short-run`: each chain starts at noise.
    - `persistent`: chains go on where those of the last batch ended, or restart with probability `restart`.
    - `buffer`: the same over the last `buffer_size` ends of chains (Du and Mordatch, 2019).
    """

    class Options(ContrastivePhase.Options):
        chains: Literal["short-run", "persistent", "buffer"] = "buffer"
        steps: int = 60
        step_size: float = 0.01
        noise_scale: float | None = None
        gradient_clip: float | None = None
        buffer_size: int = 10_000
        restart: float = 0.05
        #: Deviation of Gaussian noise on the data, which keeps energies of sharp data smooth.
        data_noise: float = 0.0

    def step(self, step: Step) -> None:
        o = self.options
        x = step.batch()
        noise = step.noise(len(x))
        if o.data_noise:
            x = x + o.data_noise * noise.normal(*x.shape[1:])
        step.minimize(self.contrast(step, x, self.negatives(noise)))

    def negatives(self, noise: Any) -> Tensor:
        o, model = self.options, self.model
        x = model.start(noise)
        if o.chains != "short-run":
            if self.buffer is None:
                size = len(x) if o.chains == "persistent" else o.buffer_size
                self.buffer = ReplayBuffer(size, {"x": x.shape[1:]})
            x = self.buffer.mix({"x": x}, 1.0 - o.restart, noise)["x"]
        settings = model.Sampling(
            steps=o.steps, step_size=o.step_size, noise_scale=o.noise_scale, gradient_clip=o.gradient_clip
        )
        for state in model.chain(x, noise, settings):
            x = state
        if self.buffer is not None:
            self.buffer.put({"x": x})
        return x.detach()


class DenoisingScoreMatching(_EnergyPhase):
    r"""Matches the score of data blurred by :math:`N(0, \sigma^2)` (thesis, eq. 2.42), times :math:`\sigma^2`.

    .. math:: \frac{1}{2} E |\sigma \nabla s_\theta(x + \sigma \epsilon) + \epsilon|^2

    References:
        A connection between score matching and denoising autoencoders (Vincent, 2011)
    """

    class Options(ContrastivePhase.Options):
        sigma: float = 0.1

    def step(self, step: Step) -> None:
        x = step.batch()
        loss = self.loss(x, step.noise(len(x))).mean()
        step.minimize(loss)

    def loss(self, x: Tensor, noise: Any) -> Tensor:
        """Returns the loss of each datum, `(n,)`."""

        sigma, eps = self.options.sigma, noise.normal(*x.shape[1:])
        blurred = (x + sigma * eps).requires_grad_(True)
        with torch.enable_grad():
            (gradient,) = torch.autograd.grad(self.score(blurred).sum(), blurred, create_graph=torch.is_grad_enabled())
        return (sigma * gradient + eps).flatten(1).square().sum(1) / 2

    def validate(self, x: Tensor, noise: Any) -> Tensor:
        return self.loss(x, noise).detach()


class NoiseContrastive(_EnergyPhase):
    r"""Tells data from noise of known density, with the normalising constant as a parameter (thesis, eq. 2.43).

    The noise is Gaussian with the data's mean and covariance, widened by `widen`.

    References:
        Noise-Contrastive Estimation of Unnormalized Statistical Models (Gutmann and Hyvärinen, 2012)
    """

    class Options(ContrastivePhase.Options):
        widen: float = 1.2
        #: Draws of noise for each datum.
        ratio: int = 1
        #: Batches from which mean and covariance are taken.
        fit_batches: int = 20

    def __init__(self, model: Any, options: Any):
        super().__init__(model, options)
        self.mean: Tensor | None = None
        self.root: Tensor | None = None

    def setup(self, step: Step) -> None:
        super().setup(step)
        x = torch.cat([step.batch().flatten(1) for _ in range(self.options.fit_batches)])
        self.mean = x.mean(0)
        covariance = torch.cov(x.T).reshape(len(self.mean), -1)
        jitter = 1e-4 * covariance.diagonal().mean() * torch.eye(len(self.mean), device=x.device)
        self.root = torch.linalg.cholesky(covariance + jitter) * self.options.widen

    def noise_log_prob(self, x: Tensor) -> Tensor:
        z = torch.linalg.solve_triangular(self.root, (x.flatten(1) - self.mean).T, upper=False).T
        log_det = self.root.diagonal().log().sum()
        return -z.square().sum(1) / 2 - log_det - len(self.mean) / 2 * math.log(2 * math.pi)

    def step(self, step: Step) -> None:
        x = step.batch()
        noise = step.noise(len(x) * self.options.ratio)
        y = noise.normal(len(self.mean)).to(x) @ self.root.T + self.mean
        y = y.view(-1, *x.shape[1:])
        shift = math.log(self.options.ratio)
        real = self.model.log_prob(x) - self.noise_log_prob(x) - shift
        fake = self.model.log_prob(y) - self.noise_log_prob(y) - shift
        loss = F.softplus(-real).mean() + self.options.ratio * F.softplus(fake).mean()
        step.log(accuracy=((real > 0).float().mean() + (fake < 0).float().mean()).detach() / 2)
        step.minimize(loss + self.regularization(step, real, fake))

    def state(self) -> dict[str, Tensor]:
        own = {} if self.mean is None else {"noise/mean": self.mean, "noise/root": self.root}
        return {**super().state(), **own}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        if "noise/mean" in state:
            self.mean, self.root = state["noise/mean"], state["noise/root"]
