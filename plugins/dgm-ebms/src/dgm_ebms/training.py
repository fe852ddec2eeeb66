r"""How energies are trained, and how the dynamics of an energy are trained as a generator.

Energies: maximum likelihood by chains, score matching, noise contrast. Dynamics (:class:`~dgm_ebms.odeflow.ODEFlow`):
by contrast, as a GAN with itself, by likelihood.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

import torch
from dgm_train.energy import ContrastivePhase, ReplayBuffer
from msgspec import Meta
from torch import Tensor, nn
from torch.nn import functional as F

from dgmcore.config import Config, Count, Fraction, NonNegative, Positive
from dgmcore.noise import Noise
from dgmcore.training.phase import Phase, Step

from .odeflow import Solver, ascent, tangents
from .rbm import RBM
from .stacked import StackedRBM

__all__ = [
    "Contrastive",
    "DenoisingScoreMatching",
    "FlowLikelihood",
    "ImplicitScoreMatching",
    "MaximumLikelihood",
    "NoiseContrastive",
    "PersistentContrastiveDivergence",
]

#: Steps of chains and solvers: each costs a pass through the network in every step of training.
Steps = Annotated[int, Meta(ge=1, le=10_000)]
Tolerance = Annotated[float, Meta(ge=1e-9, le=1.0)]


class _EnergyPhase(ContrastivePhase):
    """Trains the energy of an :class:`~dgm_ebms.ebm.EBM` and its constant."""

    def critic(self) -> Any:
        return self.model.parts["energy"]

    def score(self, x: Tensor) -> Tensor:
        return self.model.score(x)

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": [*self.critic().parameters(), self.model.log_normalizer]}


class MaximumLikelihood(_EnergyPhase):
    """Maximum likelihood with negatives from Langevin dynamics (thesis 2.3.2; De Bortoli, Algorithm 1).

    - `short-run`: each chain starts at noise.
    - `persistent`: chains go on where those of the last batch ended, or restart with probability `restart`.
    - `buffer`: the same over the last `buffer_size` ends of chains (Du and Mordatch, 2019).
    """

    class Options(ContrastivePhase.Options):
        chains: Literal["short-run", "persistent", "buffer"] = "buffer"
        #: Of a chain.
        steps: Annotated[int, Meta(ge=0, le=10_000)] = 60
        step_size: Positive = 0.01
        #: Deviation of the noise of a step; None: what Langevin dynamics of temperature 1 have.
        noise_scale: NonNegative | None = None
        #: The largest magnitude of an entry of a chain's gradient.
        gradient_clip: Positive | None = None
        #: Of the buffer: states that it holds, and the probability that a chain starts anew.
        buffer_size: Count = 10_000
        restart: Fraction = 0.05
        #: Deviation of Gaussian noise on the data, which keeps energies of sharp data smooth.
        data_noise: NonNegative = 0.0

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
        #: Deviation of the blur.
        sigma: Positive = 0.1

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


class ImplicitScoreMatching(_EnergyPhase):
    r"""Matches the data's own score, without knowing it (thesis, eq. 2.41; [1], theorem 1).

    .. math:: E \Big[ \mathrm{tr}\, \nabla\nabla s_\theta(x) + \frac{1}{2} |\nabla s_\theta(x)|^2 \Big]

    Unlike the denoising objective it blurs nothing; it needs the curvature, of which the trace takes d products, or
    `probes` with random signs (Hutchinson; "sliced" in [2]). Where data lie on points or lines there is no minimum.

    References:
        [1] Estimation of Non-Normalized Statistical Models by Score Matching (Hyvärinen, 2005)
        [2] Sliced Score Matching (Song et al., 2019), https://arxiv.org/abs/1905.07088
    """

    class Options(ContrastivePhase.Options):
        #: `exact` takes d products, `hutchinson` as many as `probes`; `auto` is exact up to 8 dimensions.
        trace: Literal["auto", "exact", "hutchinson"] = "auto"
        probes: Annotated[int, Meta(ge=1, le=1_000)] = 1

    def step(self, step: Step) -> None:
        x = step.batch()
        step.minimize(self.loss(x, step.noise(len(x))).mean())

    def loss(self, x: Tensor, noise: Noise) -> Tensor:
        """Returns the loss of each datum, `(n,)`."""

        o = self.options
        gradient, trace = ascent(self.critic(), x, tangents(x, noise, o.trace, o.probes))
        std = getattr(self.model.config, "reference_std", None)
        if std is not None:  # the reference is a Gaussian, whose curvature is constant
            gradient, trace = gradient - x / std**2, trace - x[0].numel() / std**2
        return trace + gradient.flatten(1).square().sum(1) / 2

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return self.loss(x, noise).detach()


class NoiseContrastive(_EnergyPhase):
    r"""Tells data from noise of known density, with the normalising constant as a parameter (thesis, eq. 2.43).

    The noise is Gaussian with the data's mean and covariance, widened by `widen`.

    References:
        Noise-Contrastive Estimation of Unnormalized Statistical Models (Gutmann and Hyvärinen, 2012)
    """

    class Options(ContrastivePhase.Options):
        #: Factor on the deviations of the noise.
        widen: Positive = 1.2
        #: Draws of noise for each datum.
        ratio: Annotated[int, Meta(ge=1, le=1_000)] = 1
        #: Batches from which mean and covariance are taken.
        fit_batches: Annotated[int, Meta(ge=1, le=10_000)] = 20

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


class PersistentContrastiveDivergence(ContrastivePhase):
    r"""Maximum likelihood of a Boltzmann machine, with negatives from Gibbs chains that never restart (Tieleman, 2008).

    Visible biases start at the logits of the pixels' means [1, section 8], which also are the base of annealed
    importance sampling. Of a stack the machine on top is trained, on draws of the hidden units below it [2].

    References:
        Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient (Tieleman, 2008)
        [1] A Practical Guide to Training Restricted Boltzmann Machines (Hinton, 2012)
        [2] A Fast Learning Algorithm for Deep Belief Nets (Hinton, Osindero and Teh, 2006)
    """

    model: RBM | StackedRBM

    class Options(ContrastivePhase.Options):
        #: Gibbs steps between two updates, and the number of chains; None: that of the batch.
        steps: Annotated[int, Meta(ge=1, le=10_000)] = 1
        chains: Annotated[int, Meta(ge=1, le=100_000)] | None = None
        #: Batches from which the pixels' means are taken.
        init_batches: Annotated[int, Meta(ge=0, le=10_000)] = 100

    def __init__(self, model: Any, options: Any):
        super().__init__(model, options)
        self.states: Tensor | None = None

    @property
    def machine(self) -> RBM:
        """What is trained: of a stack the machine on top."""
        return self.model.top if isinstance(self.model, StackedRBM) else self.model

    def critic(self) -> Any:
        return self.machine

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": list(self.machine.parameters())}

    def data(self, step: Step) -> Tensor:
        """Returns a batch of the machine's data: of the machine on top of a stack, draws of the units below it."""
        x = step.batch()
        return self.model.up(x, step.noise(len(x))) if isinstance(self.model, StackedRBM) else x

    def setup(self, step: Step) -> None:
        if not self.options.init_batches:  # the biases are trained already
            return
        batches = [self.machine.places(self.data(step)).mean(0) for _ in range(self.options.init_batches)]
        means = torch.stack(batches).mean(0).clamp(1e-3, 1 - 1e-3)
        self.machine.base.copy_(means.logit())
        with torch.no_grad():
            self.machine.visible_bias.copy_(self.machine.base)

    def step(self, step: Step) -> None:
        x = self.data(step)
        noise = step.noise(self.options.chains or len(x))
        if self.states is None:
            base = torch.sigmoid(self.machine.base)
            self.states = (noise.uniform(len(base)) < base).to(base)
        for v in self.machine.gibbs(self.states, noise, self.options.steps):
            self.states = v
        step.minimize(self.contrast(step, x, self.machine.data(self.states)))

    def state(self) -> dict[str, Tensor]:
        return {**super().state(), **({} if self.states is None else {"chains": self.states})}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        super().restore(state)
        self.states = state.get("chains")


# --- the dynamics of an energy as a generator ------------------------------------------------------------


class Contrastive(ContrastivePhase):
    r"""The gradient of maximum likelihood of an energy, with the ends of noise-free dynamics as negatives.

    .. math:: \min_\theta E_\theta(x) - E_\theta(G_{sg(\theta)}(x_0)) + w \, E_{sg(\theta)}(G_\theta(x_0))

    With w = 0 this is eq. 5.1 with the generator of eq. 5.6, with w = 1 eq. 5.14: the energy is the critic of a
    Wasserstein GAN whose generator is the descent of that energy. One batch of samples serves both terms.

    In the last term the gradient goes through the unrolled solver and not into the weights of the energy that judges.
    With :math:`v = \nabla E(G(x_0))` held constant it is that of :math:`v \cdot G_\theta(x_0)`.
    """

    class Options(ContrastivePhase.Options):
        #: w, the weight of the generator's loss.
        generator_weight: NonNegative = 0.0
        #: None: the solver that samples, and what goes with it.
        solver: Solver | None = None
        steps: Steps | None = None
        tolerance: Tolerance | None = None

    def critic(self) -> Any:
        return self.model.parts["energy"]

    def step(self, step: Step) -> None:
        x = step.batch()
        eps = self.model.start(step.noise(len(x)))
        with torch.set_grad_enabled(bool(self.options.generator_weight)):
            samples = self.model.solve(eps, _solver(self.model, self.options))
        loss = self.contrast(step, x, samples.detach())
        if self.options.generator_weight:
            loss = loss + self.options.generator_weight * self.generator_loss(samples).mean()
        step.minimize(loss)

    def generator_loss(self, samples: Tensor) -> Tensor:
        r"""Returns :math:`E_{sg(\theta)}(G_\theta(x_0))` of eq. 5.13, `(n,)`, for samples with their graph."""

        fixed = samples.detach()
        with torch.no_grad():
            energy, v = -self.score(fixed), -ascent(self.critic(), fixed)[0]
        return energy + (v * (samples - fixed)).flatten(1).sum(1)

    def validate(self, x: Tensor, noise: Noise) -> Tensor | None:
        return -self.model.log_prob(x) if self.model.event_shape == (2,) else None


class FlowLikelihood(Phase):
    """Maximum likelihood of the flow by eq. 5.7, through the solver that goes back from data to noise."""

    class Options(Config):
        #: None: the solver that samples, and what goes with it.
        solver: Solver | None = None
        steps: Steps | None = None
        tolerance: Tolerance | None = None
        #: How the divergence is taken, and the random vectors of Hutchinson's estimate of it.
        trace: Literal["auto", "exact", "hutchinson"] = "auto"
        probes: Annotated[int, Meta(ge=1, le=1_000)] = 1

    def parameters(self) -> dict[str, Iterable[nn.Parameter]]:
        return {"model": list(self.model.parts["energy"].parameters())}

    def step(self, step: Step) -> None:
        x, o = step.batch(), self.options
        how = {k: getattr(o, k) for k in ("solver", "steps", "tolerance", "trace", "probes")}
        loss = -self.model.log_prob(x, noise=step.noise(len(x)), **how).mean()
        step.minimize(loss)
        step.log(nll=loss.detach())

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x, noise=noise)


def _solver(model: Any, options: Any) -> Any:
    """Returns the model's sampling options, changed by those of a phase."""

    given = {k: getattr(options, k) for k in ("solver", "steps", "tolerance")}
    return model.sampling({k: v for k, v in given.items() if v is not None})
