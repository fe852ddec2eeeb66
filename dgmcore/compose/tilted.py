r"""Compositions of any two models: tilting a generator by a critic.

Where :math:`g` pushes standard normal noise :math:`\epsilon` to data and :math:`s` scores data, the tilted
model is

.. math:: p(x) \propto g_\# N(0, I)(x) \cdot \exp(w \, s(x)).

Its samples are :math:`x = g(\epsilon)` where :math:`\epsilon` has the density (thesis, eq. 4.8 and 4.19)

.. math:: h(\epsilon) \propto \exp(-U(\epsilon)), \qquad U(\epsilon) = \frac{1}{2} |\epsilon|^2 - w \, s(g(\epsilon)),

so Langevin dynamics runs on :math:`\epsilon`, where all coordinates have one scale (eq. 4.10), or Metropolis steps
(of dgm-given), which need no gradient of the critic.

References:
    [1] Designing Deep Generative Models with Symbiotic Composition (Xiao, doctoral thesis, 2022),
        sections 4.3.1 to 4.3.3
    [2] VAEBM: A Symbiosis between Variational Autoencoders and Energy-based Models (Xiao et al., 2021),
        https://arxiv.org/abs/2010.00654
    [3] Your GAN is Secretly an Energy-based Model and You Should Use Discriminator Driven Latent Sampling
        (Che et al., 2020), https://arxiv.org/abs/2003.06060
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from ..config import Config, NonNegative, Options, Positive, Real, Whole
from ..errors import OptionError, PluginError, UsageError
from ..interfaces import Critic, Pushforward
from ..model import Model
from ..noise import Noise
from ..plugins import call, import_string, samplers
from ..suggestions import did_you_mean
from . import temperature
from .gradients import step_frozen
from .langevin import langevin
from .nested import Nested, Potential, flatten, half_square, tree_map

__all__ = ["Tilted", "score_of", "tilt"]


class Tilted(Model):
    r"""A generator tilted by a critic, :math:`p(x) \propto g_\# N(0, I)(x) \exp(w \, s(x))`.

    A chain starts at :math:`\epsilon \sim N(0, I)`, which is a sample of the base: the first state of a
    trajectory is the base's own sample for that seed, the last is the repaired one.

    Parts:
        base: A pushforward: a flow, a VAE, a GAN's generator.
        critic: A critic: an energy network, a discriminator, a Wasserstein potential.

    Example:
        >>> # in YAML
        >>> # architecture: tilted
        >>> # parts: {base: glow-fashion, critic: energy-fashion}
    """

    Parts = {"base": ("pushforward",), "critic": ("critic",)}
    dtypes = (torch.float32, torch.float64)  # the steps of a chain are smaller than the roundings of others
    example_parts = {
        "base": {"architecture": "mlp-vae", "config": {"hidden": [8]}},
        "critic": {"architecture": "mlp-energy", "config": {"hidden": [8]}},
    }

    class Config(Config):
        #: Weight w of the critic's score.
        weight: Real = 1.0
        #: The base is :math:`g(t \epsilon)`: a hierarchical VAE at temperature t. Pixel noise "x" keeps its scale.
        base_temperature: NonNegative = 1.0
        #: Names of noises that are held at zero ("x": the decoder's mean in place of a draw).
        mean: tuple[str, ...] = ()

    class Sampling(Options):  # what is too small is refused by the chains
        #: How the chain moves: along the critic's gradient, by proposals that are kept or refused, or as plugins know.
        sampler: str = "langevin"
        steps: Whole = 20
        #: Of Langevin dynamics, or the share of fresh noise in a Metropolis proposal (1 is a new sample).
        step_size: Real = 0.01
        #: Temperature of Langevin's noise, at its first and (linearly) at its last step. Metropolis divides
        #: differences of scores by it.
        temperature: Real = 1.0
        final_temperature: Real | None = None
        #: The largest magnitude of an entry of Langevin's gradient.
        gradient_clip: Positive | None = None
        #: Factor on the score, beside the config's weight.
        weight: Real = 1.0
        #: Scale of the noise where the chain starts, by name ("x": 0 starts at the decoder's mean).
        start: dict[str, Real] = {}
        #: Names of noises that are set to zero in what is returned, not in the chain.
        final_mean: tuple[str, ...] = ()

    config: Config

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        self.event_shape = tuple(self.base.event_shape)
        wanted = getattr(self.critic, "event_shape", None)
        if wanted is not None and tuple(wanted) != self.event_shape:
            what = f"the critic judges data of shape {list(wanted)}, the base draws {list(self.event_shape)}"
            raise UsageError(what, "tilt a model by a critic that was trained on the same data")
        unknown = set(self.config.mean) - set(self.base.noise_shapes)
        if unknown:
            what = f"the base has no noise named {', '.join(sorted(unknown))}"
            raise UsageError(what, f"its noises are: {', '.join(self.base.noise_shapes)}")

    # --- the pieces ------------------------------------------------------------------------------

    @property
    def base(self) -> Any:
        """The part that draws."""
        return self.parts["base"]

    @property
    def critic(self) -> Any:
        """The part that judges."""
        return self.parts["critic"]

    @property
    def chain_shapes(self) -> dict[str, Any]:
        """The noise that the chain runs on: the base's, without what the config holds at its mean."""
        return {k: v for k, v in self.base.noise_shapes.items() if k not in self.config.mean}

    def complete(self, eps: Nested, mean: Sequence[str] = ()) -> dict[str, Any]:
        """Returns the base's noise: the chain's state scaled, zeros for what is held at its mean."""
        t = self.config.base_temperature
        first = next(iter(flatten(eps).values()))

        def zeros(shape: Any) -> Any:
            if isinstance(shape, Mapping):
                return {k: zeros(s) for k, s in shape.items()}
            return first.new_zeros(first.shape[0], *shape)

        def scaled(name: str) -> Any:
            return eps[name] if t == 1.0 or name == "x" else tree_map(lambda e: t * e, eps[name])

        held = {*self.config.mean, *mean}
        return {name: zeros(shape) if name in held else scaled(name) for name, shape in self.base.noise_shapes.items()}

    def push(self, eps: Nested, mean: Sequence[str] = ()) -> Tensor:
        """Returns g(t eps), shape `(n, *event_shape)`, with the noises called in `mean` set to zero."""
        x: Tensor = self.base.push(self.complete(eps, mean))
        return x

    def critic_score(self, x: Tensor) -> Tensor:
        """Returns the critic's score of the base's data, carried to the critic's range; shape `(n,)`."""
        have, want = (part.entry.data.range if part.entry is not None else None for part in (self.base, self.critic))
        if have and want and have != want:
            x = (x - have[0]) * ((want[1] - want[0]) / (have[1] - have[0])) + want[0]
        return score_of(self.critic, x)

    def judged(self, eps: Nested, weight: float = 1.0) -> tuple[Tensor, Tensor]:
        """Returns U(eps) without the Gaussian's part, `(n,)`, and the sample judged."""
        x = self.push(eps)
        return -(weight * self.config.weight) * self.critic_score(x), x

    def excess(self, eps: Nested, weight: float = 1.0) -> Tensor:
        """Returns U(eps) without the Gaussian's part, shape `(n,)`; see :meth:`judged`."""
        return self.judged(eps, weight)[0]

    def potential(self, eps: Nested, weight: float = 1.0) -> Tensor:
        """Returns U(eps), shape `(n,)`, with the score's weight times `weight`."""
        return half_square(eps) + self.excess(eps, weight)

    # --- sampling --------------------------------------------------------------------------------

    def chain(self, eps: Nested, noise: Noise, options: Any, excess: Potential | None = None) -> Iterator[Nested]:
        """Yields the states of the chain from `eps` on, `options` being of :class:`Sampling`; `excess` may watch."""
        last = options.temperature if options.final_temperature is None else options.final_temperature
        heat = temperature.linear(options.temperature, last, options.steps)
        given: dict[str, Any] = {"steps": options.steps, "step_size": options.step_size, "temperature": heat}
        excess = excess or partial(self.excess, weight=options.weight)
        if options.sampler == "metropolis":
            states = call("metropolis")(excess, eps, noise, **given)
        else:
            clip = options.gradient_clip
            states = langevin(lambda e: half_square(e) + excess(e), eps, noise, gradient_clip=clip, **given)
        return step_frozen(states, self)

    def start(self, noise: Noise, options: Any) -> dict[str, Any]:
        """Returns where the chain starts: the noise that gives the base's sample for that seed, scaled."""
        eps = noise.named(self.chain_shapes)
        odd = set(options.start) - set(eps)
        if odd:
            raise OptionError(
                f"the chain has no noise named {', '.join(sorted(odd))}", f"its noises are: {', '.join(eps)}"
            )
        for name, scale in options.start.items():
            eps[name] = tree_map(lambda e, scale=scale: scale * e, eps[name])
        return eps

    def _states(self, noise: Noise, options: Any) -> Iterator[Nested]:
        known = samplers()
        if options.sampler in known:
            yield from step_frozen(import_string(known[options.sampler].import_)(self, noise, options), self)
            return
        if options.sampler not in ("langevin", "metropolis"):
            hint = did_you_mean(options.sampler, ["langevin", "metropolis", *known])
            raise OptionError(f"no sampler is called {options.sampler!r:.60}", hint)
        eps = self.start(noise, options)
        yield eps
        yield from self.chain(eps, noise.child("langevin"), options)

    def trajectory(self, noise: Noise, **options: Any) -> Iterator[Tensor]:
        """Yields the base's sample, then the sample after each step."""
        chosen = self.sampling(options)
        for eps in self._states(noise, chosen):
            with torch.no_grad():
                x = self.push(eps, chosen.final_mean)
            yield x

    def sample(self, noise: Noise, **options: Any) -> Tensor:
        chosen = self.sampling(options)
        eps = deque(self._states(noise, chosen), maxlen=1).pop()
        with torch.no_grad():
            return self.push(eps, chosen.final_mean)


def tilt(base: Model, critic: Model, weight: float = 1.0) -> Model:
    """Returns `base` tilted by `critic`, as ``dgm sample BASE --tilt CRITIC:WEIGHT`` does.

    The base's own sampling default for `temperature`, where it has one, becomes the `base_temperature`, and
    its `mean: true` holds the noise "x" at zero.
    """
    if not isinstance(critic, Critic):
        raise _unfit(critic, "critic", "critic")
    if isinstance(base, Tilted):  # again: the critics are multiplied
        again: Model = call("given")(base, tilt=[(critic, weight)])
        return again
    if not isinstance(base, Pushforward):
        raise _unfit(base, "base", "pushforward")
    chosen = base.sampling()
    config: dict[str, Any] = {"weight": float(weight)}
    if isinstance(getattr(chosen, "temperature", None), float):
        config["base_temperature"] = chosen.temperature
    if getattr(chosen, "mean", None) is True and "x" in base.noise_shapes:
        config["mean"] = ["x"]
    model = Tilted(config, base=base, critic=critic)
    model.entry, model.noise_version = base.entry, base.noise_version
    return model.eval()


def score_of(critic: Any, x: Tensor) -> Tensor:
    """Returns a critic's score, `(n,)`; raises a PluginError for what would tilt the wrong samples, or none."""
    score: Tensor = critic.score(x)
    if getattr(score, "shape", None) != x.shape[:1]:
        raise PluginError(f"the score of {type(critic).__name__} is no ({len(x)},)", "return a number for each datum")
    if torch.is_grad_enabled() and x.requires_grad and not score.requires_grad:
        what = f"the score of {type(critic).__name__} has no gradient, which these chains follow"
        raise PluginError(what, "compute it without detach or no_grad, or sample with sampler=metropolis")
    return score.to(x.dtype)


def _unfit(model: Model, role: str, wanted: str) -> UsageError:
    name = model.entry.name if model.entry else type(model).__name__
    return UsageError(f"{name} is no {wanted} and can't be the {role} of a tilted model", f"dgm list --can {wanted}")
