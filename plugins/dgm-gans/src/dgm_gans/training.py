"""The adversarial game as a training phase, and the discriminator's last words after it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Literal

import torch
from msgspec import Meta
from torch import Tensor, nn

from dgmcore import load
from dgmcore.config import Config, Count, Fraction, NonNegative, Positive
from dgmcore.errors import TrainingError
from dgmcore.noise import Noise
from dgmcore.sampling.stream_noise import StreamNoise
from dgmcore.training import Game, Phase, Step

from .losses import LOSSES, NonSaturating, r1_penalty
from .style import RunningMean

if TYPE_CHECKING:
    from .models import GAN

__all__ = ["AdversarialPhase", "CriticPhase"]


class AdversarialPhase(Game):
    """Alternates updates of the discriminator and of the generator; EMA follows the generator.

    One step is `critic_steps` updates of the discriminator, each on a fresh batch, and one of the generator.
    Noise on data and samples alike ("instance noise", Amortised MAP Inference for Image Super-resolution, Sonderby et
    al., 2017, section 3.2) and bounded weights both keep a discriminator from telling everything apart.
    """

    model: GAN

    class Options(Config):
        loss: Literal[
            "saturating", "non-saturating", "least-squares", "hinge", "wasserstein", "wasserstein-gp", "mmd"
        ] = "non-saturating"
        labels: Literal["binary", "pearson"] = "binary"  # of least-squares: 1 and 0, or 1 and -1 with the target 0
        critic_steps: Annotated[int, Meta(ge=1, le=1_000)] = 1
        smoothing: Fraction = 0.0  # one-sided label smoothing
        clip: Positive | None = None  # bound of the discriminator's weights; None: a Wasserstein critic's is 0.01
        instance_noise: NonNegative = 0.0  # deviation of the noise on all that the discriminator sees, at the start
        noise_until: Fraction = 1.0  # share of the phase in which that noise goes to zero, linearly
        penalty: NonNegative = 10.0  # weight of the gradient penalty
        r1: NonNegative = 0.0  # weight gamma of R1, gamma/2 E|grad d(x)|^2 on data, with any loss
        r1_every: Count = 1  # steps from one R1 to the next, which is so much heavier ("lazy")
        generator_from: str | None = None  # an entry (a VAE, say) that holds the same generator, batch norm included

    def __init__(self, model: GAN, options: Options):
        super().__init__(model, options)
        self.loss = LOSSES[options.loss](options)
        if options.clip is not None:
            self.loss.clip = options.clip

    def setup(self, step: Step) -> None:
        if self.options.generator_from is not None:
            copy_generator(self.model.generator, self.options.generator_from)

    def step(self, step: Step) -> None:
        model, loss = self.model, self.loss
        for _ in range(self.options.critic_steps):
            x = self._blur(step.batch(), step)
            loss.constrain(model.discriminator)
            with torch.no_grad():
                fake = self._blur(model.push(step.noise(len(x)).named(model.noise_shapes)), step)
            d = loss.discriminator(model.score(x), model.score(fake))
            penalty = loss.penalty(model.score, x, fake, step.noise(len(x)))
            total = d if penalty is None else d + penalty
            step.minimize(total + self._r1(x, step), "discriminator")
        fake = model.push(step.noise(len(x)).named(model.noise_shapes))
        g = loss.generator_against(model.score(self._blur(fake, step)), lambda: model.score(x).detach())
        step.minimize(g, "generator")
        step.log(discriminator=d.detach(), generator=g.detach())

    def _r1(self, x: Tensor, step: Step) -> Tensor | float:
        o = self.options
        if o.r1 == 0 or step.index % o.r1_every:
            return 0.0
        penalty = o.r1 / 2 * r1_penalty(self.model.score, x)
        step.log(r1=penalty.detach())
        return o.r1_every * penalty

    def _blur(self, x: Tensor, step: Step) -> Tensor:
        o = self.options
        share = 0.0 if step.progress >= o.noise_until else 1 - step.progress / o.noise_until
        return blur(x, o.instance_noise * share, step.noise(len(x)))

    def validate(self, x: Tensor, noise: Noise) -> Tensor:
        r"""Returns terms `(n,)` whose mean is the energy distance of data `x` and as many samples (R&H, Fig. 11).

        .. math::
            \tfrac14 \big(2 \bar d(x_i, y) - \bar d(x_i, x) - \bar d(y_i, y)\big),
            \quad d(a, b) = \sqrt{|a - b|^2 + 0.1}

        As the metric `energy-distance`, but with means over the others only, so that the batches of a validation don't
        bias it. No loss of the game says how good the samples are.
        """

        y = self.model.push(noise.named(self.model.noise_shapes)).flatten(1)
        x = x.flatten(1)
        between, of_x, of_y = (torch.cdist(a, b).square().add(0.1).sqrt() for a, b in ((x, y), (x, x), (y, y)))
        others = max(len(x) - 1, 1)
        within = (of_x + of_y).fill_diagonal_(0.0).sum(1) / others
        return (2 * between.mean(1) - within) / 4

    def finish(self) -> None:
        """Measures the running statistics of the generator anew: averaged weights have others."""
        renormalize(self.model)


class CriticPhase(Phase):
    r"""Fits the discriminator to the finished generator, both in eval mode, as they are used.

    In the game batch norm tells the discriminator what share of its batch is real, and its opponent is not the averaged
    generator that ships. Tilting needs a logit that is :math:`\log p_{data}(x) / p_g(x)` (Your GAN is Secretly an
    Energy-based Model, Che et al., 2020, section 3.1), which is what the logistic loss has as its minimum.
    """

    model: GAN

    class Options(Config):
        clip: Positive | None = None  # bound of the weights
        instance_noise: NonNegative = 0.0  # standard deviation of the noise on data and samples

    def __init__(self, model: GAN, options: Options):
        super().__init__(model, options)
        self.loss = NonSaturating()
        self.loss.clip = options.clip

    def parameters(self) -> Mapping[str, Iterable[nn.Parameter]]:
        return {"model": list(self.model.discriminator.parameters())}

    def averaged(self) -> nn.Module:
        return self.model.discriminator

    def step(self, step: Step) -> None:
        model, loss, deviation = self.model.eval(), self.loss, self.options.instance_noise
        loss.constrain(model.discriminator)
        x, noise = step.batch(), step.noise()
        with torch.no_grad():
            fake = model.push(noise.named(model.noise_shapes))
        x, fake = blur(x, deviation, noise), blur(fake, deviation, noise)
        d = loss.discriminator(model.score(x), model.score(fake))
        step.minimize(d)
        step.log(discriminator=d.detach())


def blur(x: Tensor, deviation: float, noise: Noise) -> Tensor:
    """Returns `x` with Gaussian noise of that standard deviation."""
    return x + deviation * noise.normal(*x.shape[1:]) if deviation > 0 else x


@torch.no_grad()
def renormalize(model: GAN, batches: int = 100, size: int = 64) -> None:
    """Sets the running statistics of the generator (batch norms, means) to those of so many batches of noise."""

    kinds = nn.modules.batchnorm._BatchNorm | RunningMean
    norms = [m for m in model.generator.modules() if isinstance(m, kinds)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain average
    model.generator.train()
    device = next(model.generator.parameters()).device
    for i in range(batches):
        model.push(StreamNoise(0, size, device=device, scope=f"renormalize/{i}").named(model.noise_shapes))
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum


def copy_generator(generator: nn.Module, entry: str) -> None:
    """Copies weights and batch-norm statistics from the module of an entry that has the same tensors in the same order.

    Names may differ: a decoder is often a plain sequence of the generator's layers.

    Raises:
        TrainingError: If no module of the entry's model has the generator's tensors.
    """

    wanted = generator.state_dict()
    for module in load(entry).modules():
        state = module.state_dict()
        if [t.shape for t in state.values()] == [t.shape for t in wanted.values()]:
            generator.load_state_dict(dict(zip(wanted, state.values(), strict=True)))
            return
    raise TrainingError(
        f"{entry} holds no generator with these {len(wanted)} tensors",
        "generator_from needs an entry whose decoder is this generator, such as vae-mnist-2d for rh-gan",
    )
