r"""The training of VAEBM's energy, and of auto-encoders together with the flow of their codes in one stage.

References:
    Designing Deep Generative Models with Symbiotic Composition (Xiao, 2022), "thesis", sections 3.3 and 4.3
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.nn.functional as F
from dgm_train.energy import ContrastivePhase, ReplayBuffer
from msgspec import Meta
from torch import Tensor, nn

from dgmcore.compose import flatten, frozen, unflatten
from dgmcore.config import Config, Count, Fraction, NonNegative, Positive, Whole
from dgmcore.errors import OptionError, TrainingError
from dgmcore.noise import Noise
from dgmcore.plugins.provided import call
from dgmcore.training.phase import Phase, Step

from .glf import GLF, LatentFlow, VAEFlow

__all__ = ["EnergyPhase", "GLFPhase", "VAEFlowPhase"]


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
        spectral_weight: NonNegative = 0.2
        adam_clip: NonNegative | None = 3.0
        loss: Literal["likelihood", "ratio"] = "likelihood"
        #: Of a chain. Metropolis steps need no small steps where modes are narrow, and have no bias.
        sampler: Literal["langevin", "metropolis"] = "langevin"
        steps: Annotated[int, Meta(ge=0, le=10_000)] = 10
        step_size: Positive = 5e-6
        temperature: NonNegative = 1.0
        #: The largest magnitude of an entry of a chain's gradient.
        gradient_clip: Positive | None = None
        #: Scale of the noise where chains start, by name ("x": 0 starts at the decoder's mean).
        start: dict[str, NonNegative] = {}
        #: What enters the loss: the end of the chain, or the decoder's mean there.
        negatives: Literal["sample", "mean"] = "sample"
        #: What stands for the data: themselves, or the VAE's reconstructions of them. The latter keep the energy to
        #: what the latents can repair, where the decoder's mean is too smooth to pass for data at all.
        positives: Literal["data", "reconstruction"] = "data"
        #: Deviation of Gaussian noise on data and negatives alike.
        data_noise: NonNegative = 0.0
        #: The replay buffer: states, the probability that a chain starts at one of them, and the steps until then.
        buffer_size: Count | None = None
        buffer_probability: Fraction = 0.6
        buffer_anneal: Whole = 5000
        #: Weight of the generator's loss on the VAE.
        kl_weight: NonNegative = 0.0

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
            sampler=o.sampler,
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


class LatentPhase(Phase):
    """What both objectives share: two optimisers, the flow's start, and the perceptual loss."""

    class Options(Config):
        #: Weight of the reconstruction, eq. 3.2.
        beta: Positive = 1.0
        #: An entry with features, whose distance between data and reconstructions joins the loss.
        perceptual: str | None = None
        perceptual_weight: NonNegative = 1.0
        #: Codes that the flow is fitted to before the first step; 0 leaves a trained flow as it is.
        initial: Whole = 512

    model: LatentFlow

    def __init__(self, model: LatentFlow, options: Config):
        super().__init__(model, options)
        self.coder = model.parts[model.coder]
        self.optimizers = tuple(name for name in (model.coder, "flow") if name not in model.shared_parts)
        if not self.optimizers:
            raise TrainingError(
                "both parts are entries of their own, there is nothing to train",
                "give one an architecture: parts: {flow: {architecture: coupling, ...}}",
            )
        self.extractor: Any = None
        if options.perceptual is not None:
            self.extractor = call("extractor")(options.perceptual, model.entry.data, model.device, rounded=False)
            self.extractor.model.requires_grad_(False)

    def parameters(self):
        return {name: list(self.model.parts[name].parameters()) for name in self.optimizers}

    def setup(self, step: Step) -> None:
        initialize = getattr(self.model.parts["flow"], "initialize", None)
        if initialize is None or "flow" not in self.optimizers or not self.options.initial:
            return
        codes: list[Tensor] = []
        with torch.no_grad():
            while sum(map(len, codes)) < self.options.initial:
                codes.append(self.coder.encode(step.batch()))
            initialize(torch.cat(codes))

    def perceptual(self, step: Step, x: Tensor, y: Tensor) -> Tensor | float:
        """Returns the weighted L1 distance of the features of `x` and of its reconstruction `y`, a scalar."""

        if self.extractor is None:
            return 0.0
        with torch.no_grad():
            target = self.extractor.features(x)
        distance = F.l1_loss(self.extractor.features(y), target, reduction="none").sum(1).mean()
        step.log(perceptual=distance.detach())
        return self.options.perceptual_weight * distance


class GLFPhase(LatentPhase):
    r"""Trains the auto-encoder to reconstruct and the flow to fit its codes, in one stage.

    With `stop_gradient` this is GLF, eq. 3.7:

    .. math:: \beta \, |x - G(E(x))|^2 - \log p_\eta(\mathrm{sg}[E(x)])

    whose terms have different parameters, so `beta` only scales the step of optimisers that are not invariant to it.
    Without, it is the regularised GLF of eq. 3.5: the flow pulls at the codes, which shrink, since the smaller they
    are the larger the flow's Jacobian; it is unstable (Fig. 3.7, `benchmarks/glf_stability.py`).

    With `code_noise` the flow fits the codes at the scale that the decoder can tell apart, instead of spending itself
    on the directions in which they are thin.

    The reconstruction is a sum over a datum's numbers. An auto-encoder that is an entry of its own stays as it is,
    and only the flow is trained.
    """

    class Options(LatentPhase.Options):
        stop_gradient: bool = True
        #: Deviation of noise on the codes that the flow is fitted to, in deviations of the codes. Not in the thesis.
        code_noise: NonNegative = 0.0
        #: Steps of the flow for each of the auto-encoder, on the same codes with fresh noise.
        flow_steps: Annotated[int, Meta(ge=1, le=1_000)] = 1

    model: GLF

    def reconstruct(self, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the reconstruction and its squared error, `(n,)`."""

        y = self.coder.decode(z)
        return y, (x - y).square().flatten(1).sum(1)

    def blurred(self, z: Tensor, step: Step) -> Tensor:
        """Returns codes with noise of `code_noise` of their own deviation over the batch, `(n, q)`."""

        if not self.options.code_noise:
            return z
        noise = step.noise(len(z)).normal(*z.shape[1:])
        return z + self.options.code_noise * z.detach().std(0) * noise

    def step(self, step: Step) -> None:
        o, flow = self.options, self.model.parts["flow"]
        x = step.batch()
        with torch.set_grad_enabled(self.model.coder in self.optimizers):
            z = self.coder.encode(x)
        step.log(code_scale=z.detach().std(0).mean())
        if self.model.coder in self.optimizers:
            y, error = self.reconstruct(z, x)
            loss = o.beta * error.mean() + self.perceptual(step, x, y)
            if not o.stop_gradient:
                loss = loss - flow.log_prob(self.blurred(z, step)).mean()
            step.log(recon=error.detach().mean())
            step.minimize(loss, self.model.coder)
        for _ in range(o.flow_steps if "flow" in self.optimizers else 0):
            nll = -flow.log_prob(self.blurred(z.detach(), step)).mean()
            step.log(nll=nll.detach())
            step.minimize(nll, "flow")

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        z = self.coder.encode(x)
        return self.options.beta * self.reconstruct(z, x)[1] - self.model.parts["flow"].log_prob(z)


class VAEFlowPhase(LatentPhase):
    r"""Maximises :math:`E_q[\beta \log p(x \mid z) + \log p_\eta(z) - \log q(z \mid x)]` over both parts, eq. 3.4.

    For a Gaussian decoder of fixed deviation sigma, `beta` stands for the precision: `beta: 400` with `sigma: 1` has
    the gradients of `sigma: 0.05`, but the density of the model stays that of its own sigma.
    """

    model: VAEFlow

    def step(self, step: Step) -> None:
        o, x = self.options, step.batch()
        base, flow = self.coder, self.model.parts["flow"]
        eps = step.noise(len(x)).normal(*self.model.noise_shapes["z"])
        z, log_q, q = base.infer(x, eps)
        p = base.conditional(z)
        recon, log_prior, log_q = (t.mean() for t in (p.log_prob(x), flow.log_prob(z), log_q))
        step.log(recon=recon.detach(), nll=-log_prior.detach(), entropy=-log_q.detach())
        step.log(elbo=(recon + log_prior - log_q).detach(), posterior_std=q.sigma.detach().mean())
        if self.model.coder in self.optimizers:
            loss = log_q - log_prior - o.beta * recon + self.perceptual(step, x, p.mean())
            step.minimize(loss, self.model.coder)
        if "flow" in self.optimizers:
            step.minimize(-flow.log_prob(z.detach()).mean(), "flow")

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        return -self.model.log_prob(x, noise=noise)
