"""A good model, and models that are each wrong in one way, with the check that must catch it."""

from __future__ import annotations

import math
import socket
from contextlib import suppress
from typing import Annotated

import torch
from msgspec import Meta
from torch import Tensor, nn

from dgmcore import Config, Likelihood, Model, Options
from dgmcore.config import Count, Positive, Real, Whole
from dgmcore.training import Phase


class Fit(Phase):
    """Maximum likelihood."""

    def step(self, step):
        step.minimize(-self.model.log_prob(step.batch()).mean())


class Good(Model):
    """An affine map of Gaussian noise, which answers every question of the core."""

    class Config(Config):
        scale: Positive = 0.7

    likelihood = Likelihood.EXACT
    phases = {"fit": f"{__name__}:Fit"}

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (2,)
        self.mean = nn.Parameter(torch.tensor([0.3, -0.2]))
        self.log_scale = nn.Parameter(torch.full((2,), math.log(self.config.scale)))

    @property
    def noise_shapes(self):
        return {"z": (2,)}

    def push(self, eps):
        return self.mean + self.log_scale.exp() * eps["z"]

    def sample(self, noise, **options):
        self.sampling(options)
        return self.push(noise.named(self.noise_shapes))

    def trajectory(self, noise, **options):
        self.sampling(options)
        eps = noise.named(self.noise_shapes)
        yield eps["z"]
        yield self.push(eps)

    def encode(self, x):
        return (x - self.mean) * (-self.log_scale).exp()

    def decode(self, z):
        return self.push({"z": z})

    def log_prob(self, x):
        return -0.5 * self.encode(x).square().sum(1) - math.log(2 * math.pi) - self.log_scale.sum()

    @property
    def orders(self):
        return torch.arange(2)[None]

    def log_conditionals(self, x, chain=0):
        return -0.5 * self.encode(x).square() - 0.5 * math.log(2 * math.pi) - self.log_scale

    def score(self, x):
        return self.log_prob(x)

    def features(self, x):
        return self.encode(x)


class OpensConnection(Good):
    caught_by = "builds-without-network"

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        with socket.socket() as s, suppress(OSError):
            s.connect(("127.0.0.1", 9))


class AcceptsAnyKey(Good):
    caught_by = "unknown-key-rejected"

    def __init__(self, config=None, **parts):
        super().__init__({k: v for k, v in (config or {}).items() if k == "scale"}, **parts)


class ChangesConfig(Good):
    caught_by = "config-round-trip"

    def __init__(self, config=None, **parts):
        super().__init__({"scale": (config or {}).get("scale", 0.7) * 0.5}, **parts)


class AnswersNothing(Model):
    caught_by = "has-a-capability"


class WrongShape(Good):
    caught_by = "samples-are-well-formed"

    def push(self, eps):
        return super().push(eps)[:, :1]


class NotFinite(Good):
    caught_by = "samples-are-well-formed"

    def push(self, eps):
        return super().push(eps) * float("nan")


class OutOfRange(Good):
    """An exact density of dequantised images may overshoot; anything else may not."""

    caught_by = "samples-are-well-formed"
    data_range = (-0.01, 0.01)
    likelihood = Likelihood.ESTIMATE

    def log_prob(self, x, *, noise=None):
        return super().log_prob(x)


class OwnRandomness(Good):
    caught_by = "same-seed-same-bits"

    def sample(self, noise, **options):
        return super().sample(noise) + 0.1 * torch.randn(noise.n, 2)


class IgnoresNoise(Good):
    caught_by = "same-seed-same-bits"

    def sample(self, noise, **options):
        return self.mean + torch.arange(2.0 * noise.n).reshape(noise.n, 2)


class BatchNormalised(Good):
    caught_by = "independent-of-batch-size"

    def sample(self, noise, **options):
        x = super().sample(noise)
        return x - x.mean(0)


class DependsOnN(Good):
    caught_by = "independent-of-n"

    def sample(self, noise, **options):
        return super().sample(noise) + 0.5 * noise.n


class DependsOnStart(Good):
    caught_by = "independent-of-processes"

    def sample(self, noise, **options):
        return super().sample(noise) + float(noise.start > 0)


class MovesGlobalState(Good):
    caught_by = "global-random-state-untouched"

    def log_prob(self, x):
        torch.rand(1)
        return super().log_prob(x)


class Detached(Good):
    caught_by = "push-is-differentiable"

    def push(self, eps):
        return super().push({"z": eps["z"].detach()})


class PushDisagrees(Good):
    caught_by = "push-agrees-with-sample"

    def sample(self, noise, **options):
        return self.push({"z": noise.normal(2, name="other")})


class TrajectoryStopsEarly(Good):
    caught_by = "trajectory-ends-in-the-sample"

    def trajectory(self, noise, **options):
        yield noise.named(self.noise_shapes)["z"]


class Collapsed(Good):
    caught_by = "distinct-samples"

    def sample(self, noise, **options):
        return super().sample(noise) * 0 + noise.uniform(1)[0]


class ScoreIsMatrix(Good):
    caught_by = "score-is-well-formed"

    def score(self, x):
        return super().score(x)[:, None]


class ScoreIsFlat(Good):
    caught_by = "score-is-well-formed"

    def score(self, x):
        return super().score(x) * 0


class DensityHasNoGradient(Good):
    caught_by = "log-prob-is-well-formed"

    def log_prob(self, x):
        return super().log_prob(x.detach())


class DensityOfBatch(Good):
    caught_by = "log-prob-is-per-datum"

    def log_prob(self, x):
        return super().log_prob(x) + x.square().sum()


class NotNormalised(Good):
    caught_by = "integrates-to-one"

    def log_prob(self, x):
        return super().log_prob(x) + 6.0


class WrongJacobian(Good):
    """Integrates to one, but is not the density of its own samples."""

    caught_by = "density-matches-jacobian"

    def log_prob(self, x):
        return super().log_prob(x + 0.5)


class NoBound(Good):
    caught_by = "lower-bound-is-one"
    likelihood = Likelihood.LOWER_BOUND

    class Scoring(Options):
        k: Count = 1

    def log_prob(self, x, *, noise=None, k=1):
        return super().log_prob(x) - 3.0 * (k > 1)


class ChainsDisagree(Good):
    caught_by = "chains-multiply-to-the-density"

    def log_conditionals(self, x, chain=0):
        return super().log_conditionals(x) - 1.0


class LooksAhead(Good):
    """The first value's conditional depends on the second."""

    caught_by = "chains-look-back-only"

    def log_conditionals(self, x, chain=0):
        return super().log_conditionals(x).flip(1)


class DecodesWrongShape(Good):
    caught_by = "decode-has-event-shape"

    def decode(self, z):
        return super().decode(z)[:, :1]


class NoInverse(Good):
    caught_by = "decode-inverts-encode"

    def encode(self, x):
        return super().encode(x) * 1.1

    def log_prob(self, x):
        return -0.5 * Good.encode(self, x).square().sum(1) - math.log(2 * math.pi) - self.log_scale.sum()


class NoFeatures(Good):
    caught_by = "features-are-well-formed"

    def features(self, x):
        return x.sum()


class Remembers(Good):
    caught_by = "eval-mode-is-idempotent"

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.register_buffer("calls", torch.zeros(()))

    def log_prob(self, x):
        self.calls += 1
        return super().log_prob(x)


class PlainTensor(Good):
    caught_by = "device-moves-everything"

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.shift = torch.zeros(2)


class SinglePrecision(Good):
    caught_by = "dtype-moves-everything"

    def push(self, eps):
        return super().push(eps).float()


class Divides(Good):
    """Ends in a ZeroDivisionError where an option is 0."""

    caught_by = "sampling-options-are-bounded"

    class Sampling(Options):
        shrink: Real = 1.0

    def sample(self, noise, **options):
        return super().sample(noise) * (1 / self.sampling(options).shrink)

    def trajectory(self, noise, **options):
        yield self.sample(noise, **options)


class Melts(Good):
    """Draws what is finite at any temperature, and nobody knows what it is at -1."""

    caught_by = "numbers-state-their-bounds"

    class Sampling(Options):
        temperature: float = 1.0

    def sample(self, noise, **options):
        t = self.sampling(options).temperature
        return self.push({"z": max(-1e6, min(t, 1e6)) * noise.named(self.noise_shapes)["z"]})


class LearnsBackwards(Good):
    """Its phase has a weight that could be negative."""

    caught_by = "numbers-state-their-bounds"
    phases = {"fit": f"{__name__}:FitAnyWeight"}


class TakesLogarithms(Good):
    caught_by = "scoring-options-are-bounded"

    class Scoring(Options):
        k: Whole = 1

    def log_prob(self, x, **options):
        return super().log_prob(x) + math.log(self.scoring(options).k)


class DividesLater(Good):
    """Is built with any rate, and draws with few."""

    caught_by = "config-numbers-are-bounded"

    class Config(Good.Config):
        rate: Real = 1.0

    def push(self, eps):
        return super().push({"z": eps["z"] * (1 / self.config.rate)})

    def encode(self, x):
        return super().encode(x) * self.config.rate


class Overflows(Good):
    caught_by = "far-data-are-no-accident"

    def log_prob(self, x):
        return super().log_prob(x) + (x**8 - x**8).sum(1)


class HalfWrong(Good):
    caught_by = "other-precisions-are-right-or-refused"

    def push(self, eps):
        return super().push(eps) + 0.5 * (self.dtype == torch.bfloat16)


class DefaultDtype(Good):
    caught_by = "default-dtype-changes-nothing"

    def push(self, eps):
        return super().push(eps) + torch.zeros(2)


class NeedsGradients(Good):
    """A step along a gradient, without a way out of inference mode."""

    caught_by = "inference-mode-changes-nothing"

    def sample(self, noise, **options):
        with torch.enable_grad():
            x = super().sample(noise).detach().requires_grad_()
            (slope,) = torch.autograd.grad(x.square().sum(), x)
        return (x - 0.0 * slope).detach()


class LosesState(Good):
    """Its file holds other numbers than the model."""

    caught_by = "save-and-load-are-equal"

    def own_state(self) -> dict[str, Tensor]:
        return {**super().own_state(), "mean": torch.zeros(2)}


class Backwards(torch.autograd.Function):
    """The identity, with minus the gradient."""

    @staticmethod
    def forward(ctx, x):
        return x.clone()

    @staticmethod
    def backward(ctx, grad):
        return -grad


class FitBackwards(Phase):
    def step(self, step):
        step.minimize(Backwards.apply(-self.model.log_prob(step.batch()).mean()))


class FitAnyWeight(Fit):
    class Options(Config):
        weight: Annotated[float, Meta(le=10)] = 1.0


class Ascends(Good):
    caught_by = "one-step-lowers-the-loss"
    phases = {"fit": f"{__name__}:FitBackwards"}


class FitNothing(Fit):
    def parameters(self):
        return {"model": []}


class GoodPixels(Model):
    """Three pixels of three levels, each given those before: an autoregressive model in a line."""

    class Config(Config):
        strict: bool = True

    likelihood = Likelihood.EXACT
    base_measure = "counting"
    data_range = (0.0, 1.0)
    data_levels = 3

    def __init__(self, config=None, **parts):
        super().__init__(config, **parts)
        self.event_shape = (3,)
        self.weight = nn.Parameter(torch.linspace(-2.0, 2.0, 27).sin().view(3, 3, 3))
        self.register_buffer("mask", self.sees().float())

    def sees(self):
        return torch.ones(3, 3).tril(-1)

    @property
    def orders(self):
        return torch.arange(3)[None]

    def log_conditionals(self, x, chain=0):
        level = (x * 2).round().long().clamp(0, 2)
        table = torch.einsum("nj,ijl,ij->nil", x, self.weight, self.mask).log_softmax(-1)
        return table.gather(-1, level[..., None]).squeeze(-1)

    def log_prob(self, x):
        return self.log_conditionals(x).sum(1)


class SeesItself(GoodPixels):
    caught_by = "probabilities-sum-to-one"

    def sees(self):
        return torch.ones(3, 3).tril()


class NoParameters(Good):
    caught_by = "phases-are-typed"
    phases = {"fit": f"{__name__}:FitNothing"}


BROKEN = [cls for cls in list(globals().values()) if isinstance(cls, type) and hasattr(cls, "caught_by")]
