r"""Compositions of any two models: tilting a generator by a critic.

Where :math:`g` pushes standard normal noise :math:`\epsilon` to data and :math:`s` scores data, the tilted
model is

.. math:: p(x) \propto g_\# N(0, I)(x) \cdot \exp(w \, s(x)).

Its samples are :math:`x = g(\epsilon)` where :math:`\epsilon` has the density (thesis, eq. 4.8 and 4.19)

.. math:: h(\epsilon) \propto \exp(-U(\epsilon)), \qquad U(\epsilon) = \frac{1}{2} |\epsilon|^2 - w \, s(g(\epsilon)),

so Langevin dynamics runs on :math:`\epsilon`, where all coordinates have one scale (eq. 4.10).

References:
    [1] Deep generative models: exponential tilting (Xiao, doctoral thesis, 2022), sections 4.3.1 to 4.3.3
    [2] VAEBM: A Symbiosis between Variational Autoencoders and Energy-based Models (Xiao et al., 2021),
        https://arxiv.org/abs/2010.00654
    [3] Your GAN is Secretly an Energy-based Model and You Should Use Discriminator Driven Latent Sampling
        (Che et al., 2020), https://arxiv.org/abs/2003.06060
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from .config import Config, Options
from .errors import OptionError, UsageError
from .interfaces import Critic, Pushforward
from .model import Model
from .noise import Noise

__all__ = ["Tilted", "flatten", "frozen", "langevin", "langevin_step", "tilt", "tree_map", "unflatten"]

Nested = Mapping[str, Any]  # of tensors: {name: tensor or Nested}
Potential = Callable[[Nested], Tensor]


# --- nested dictionaries of tensors --------------------------------------------------------------


def tree_map(f: Callable[..., Any], tree: Nested, *others: Nested) -> dict[str, Any]:
    """Applies `f` to the corresponding leaves of nested dictionaries."""

    return {
        name: tree_map(f, leaf, *(o[name] for o in others))
        if isinstance(leaf, Mapping)
        else f(leaf, *(o[name] for o in others))
        for name, leaf in tree.items()
    }


def flatten(tree: Nested, prefix: str = "") -> dict[str, Any]:
    """Returns the leaves of a nested dictionary by path, in order.

    Example:
        >>> flatten({"z": {"0": 1, "1": 2}, "x": 3})
        {'z/0': 1, 'z/1': 2, 'x': 3}
    """

    leaves: dict[str, Any] = {}
    for name, leaf in tree.items():
        path = f"{prefix}{name}"
        leaves.update(flatten(leaf, f"{path}/") if isinstance(leaf, Mapping) else {path: leaf})
    return leaves


def unflatten(leaves: Nested) -> dict[str, Any]:
    """The inverse of :func:`flatten`."""

    tree: dict[str, Any] = {}
    for path, leaf in leaves.items():
        *parents, name = path.split("/")
        node = tree
        for parent in parents:
            node = node.setdefault(parent, {})
        node[name] = leaf
    return tree


# --- Langevin dynamics ---------------------------------------------------------------------------


def langevin_step(
    potential: Potential,
    eps: Nested,
    w: Nested,
    step_size: float,
    temperature: float = 1.0,
    gradient_clip: float | None = None,
) -> dict[str, Any]:
    r"""One step of Langevin dynamics with given noise (thesis, eq. 4.10 and 4.19),

    .. math:: \epsilon' = \epsilon - \frac{\eta}{2} \nabla U(\epsilon) + \sqrt{\eta T} \, \omega.

    The gradient is that of the *sum* of U over the batch, so no sample depends on another.

    Arguments:
        potential: Maps nested noise, leaves `(n, *shape)`, to U, shape `(n,)`.
        eps: The state.
        w: Standard normal noise of the same structure.
        step_size: :math:`\eta`.
        temperature: T; 0 is gradient descent.
        gradient_clip: The largest magnitude of a gradient's entry (Du and Mordatch, 2019: 0.01).
    """

    state = tree_map(lambda e: e.detach().requires_grad_(True), eps)
    leaves = list(flatten(state).values())
    with torch.enable_grad():
        grads = torch.autograd.grad(potential(state).sum(), leaves, allow_unused=True)
    if gradient_clip is not None:
        grads = [g if g is None else g.clamp(-gradient_clip, gradient_clip) for g in grads]
    scale = math.sqrt(step_size * temperature)
    moved = iter(
        [
            e.detach().add(o, alpha=scale)
            if g is None
            else e.detach().add(g, alpha=-step_size / 2).add_(o, alpha=scale)
            for e, g, o in zip(leaves, grads, flatten(w).values(), strict=True)
        ]
    )
    return tree_map(lambda _: next(moved), eps)


def langevin(
    potential: Potential,
    eps: Nested,
    noise: Noise,
    *,
    steps: int,
    step_size: float,
    temperature: float | Sequence[float] = 1.0,
    gradient_clip: float | None = None,
    project: Callable[[Tensor], Tensor] | None = None,
) -> Iterator[dict[str, Any]]:
    """Runs Langevin dynamics and yields the state after each step; see :func:`langevin_step`.

    Arguments:
        potential: Maps nested noise, leaves `(n, *shape)`, to U, shape `(n,)`.
        eps: The start, leaves `(n, *shape)`.
        noise: The source of all randomness, `noise.n == n`.
        steps: The number of steps.
        step_size: The step size.
        temperature: The temperature, or one for each step.
        gradient_clip: The largest magnitude of a gradient's entry.
        project: Applied to each leaf after each step (to stay in the data's range).

    Example:
        >>> from dgmcore.noise import IndexedNoise
        >>> noise = IndexedNoise(seed=0, n=1000)
        >>> start = noise.named({"z": (2,)})
        >>> to_three = lambda eps: (eps["z"] - 3).square().sum(-1) / 2
        >>> *_, last = langevin(to_three, start, noise, steps=100, step_size=0.2)
        >>> bool((last["z"].mean(0) - 3).abs().max() < 0.2)
        True
    """

    temperatures = [float(temperature)] * steps if isinstance(temperature, (int, float)) else list(temperature)
    if len(temperatures) != steps:
        raise OptionError(
            f"{len(temperatures)} temperatures for {steps} steps", "give one number, or one for each step"
        )
    for t in temperatures:
        w = tree_map(lambda e: noise.normal(*e.shape[1:]), eps)
        eps = langevin_step(potential, eps, w, step_size, t, gradient_clip)
        if project is not None:
            eps = tree_map(project, eps)
        yield eps


@contextmanager
def frozen(*modules: nn.Module) -> Iterator[None]:
    """Within it no parameter of the modules requires gradients: only those of inputs are computed."""

    live = [p for module in modules for p in module.parameters() if p.requires_grad]
    for p in live:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in live:
            p.requires_grad_(True)


# --- the tilted model ----------------------------------------------------------------------------


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

    class Config(Config):
        #: Weight w of the critic's score.
        weight: float = 1.0
        #: The base is :math:`g(t \epsilon)`: a hierarchical VAE at temperature t. Pixel noise "x" keeps its scale.
        base_temperature: float = 1.0
        #: Names of noises that are held at zero ("x": the decoder's mean in place of a draw).
        mean: tuple[str, ...] = ()

    class Sampling(Options):
        steps: int = 20
        step_size: float = 0.01
        #: Temperature of the chain's noise, at its first and (linearly) at its last step.
        temperature: float = 1.0
        final_temperature: float | None = None
        #: The largest magnitude of an entry of the gradient.
        gradient_clip: float | None = None
        #: Factor on the score, beside the config's weight.
        weight: float = 1.0
        #: Scale of the noise where the chain starts, by name ("x": 0 starts at the decoder's mean).
        start: dict[str, float] = {}
        #: Names of noises that are set to zero in what is returned, not in the chain.
        final_mean: tuple[str, ...] = ()

    def __init__(self, config: Any = None, **parts: Model):
        super().__init__(config, **parts)
        base, critic = self.parts["base"], self.parts["critic"]
        self.event_shape = tuple(base.event_shape)
        wanted = getattr(critic, "event_shape", None)
        if wanted is not None and tuple(wanted) != self.event_shape:
            raise UsageError(
                f"the critic judges data of shape {list(wanted)}, the base draws {list(self.event_shape)}",
                "tilt a model by a critic that was trained on the same data",
            )
        unknown = set(self.config.mean) - set(base.noise_shapes)
        if unknown:
            raise UsageError(
                f"the base has no noise named {', '.join(sorted(unknown))}",
                f"its noises are: {', '.join(base.noise_shapes)}",
            )

    # --- the pieces ------------------------------------------------------------------------------

    @property
    def chain_shapes(self) -> dict[str, Any]:
        """The noise that the chain runs on: the base's, without what the config holds at its mean."""

        return {k: v for k, v in self.parts["base"].noise_shapes.items() if k not in self.config.mean}

    def complete(self, eps: Nested, mean: Sequence[str] = ()) -> dict[str, Any]:
        """Returns the base's noise: the chain's state scaled, zeros for what is held at its mean."""

        t = self.config.base_temperature
        first = next(iter(flatten(eps).values()))

        def zeros(shape: Any) -> Any:
            if isinstance(shape, Mapping):
                return {k: zeros(s) for k, s in shape.items()}
            return first.new_zeros(first.shape[0], *shape)

        def scaled(name: str) -> Any:
            if t == 1.0 or name == "x":
                return eps[name]
            return tree_map(lambda e: t * e, {name: eps[name]})[name]

        held = {*self.config.mean, *mean}
        return {
            name: zeros(shape) if name in held else scaled(name)
            for name, shape in self.parts["base"].noise_shapes.items()
        }

    def push(self, eps: Nested, mean: Sequence[str] = ()) -> Tensor:
        """Returns g(t eps), shape `(n, *event_shape)`, with the noises called in `mean` set to zero."""

        return self.parts["base"].push(self.complete(eps, mean))

    def critic_score(self, x: Tensor) -> Tensor:
        """Returns the critic's score of the base's data, carried to the critic's range; shape `(n,)`."""

        base, critic = self.parts["base"].entry, self.parts["critic"].entry
        if base is not None and critic is not None:
            have, want = base.data.range, critic.data.range
            if have is not None and want is not None and tuple(have) != tuple(want):
                x = (x - have[0]) * ((want[1] - want[0]) / (have[1] - have[0])) + want[0]
        return self.parts["critic"].score(x)

    def potential(self, eps: Nested, weight: float = 1.0) -> Tensor:
        """Returns U(eps), shape `(n,)`, with the score's weight times `weight`."""

        norm = sum(e.flatten(1).square().sum(1) for e in flatten(eps).values()) / 2
        return norm - (weight * self.config.weight) * self.critic_score(self.push(eps))

    # --- sampling --------------------------------------------------------------------------------

    def chain(self, eps: Nested, noise: Noise, options: Any) -> Iterator[dict[str, Any]]:
        """Yields the states of the chain from `eps` on, `options` being of :class:`Sampling`."""

        last = options.temperature if options.final_temperature is None else options.final_temperature
        span = max(options.steps - 1, 1)
        temperatures = [options.temperature + (last - options.temperature) * k / span for k in range(options.steps)]

        def potential(state: Nested) -> Tensor:
            return self.potential(state, options.weight)

        states = langevin(
            potential,
            eps,
            noise,
            steps=options.steps,
            step_size=options.step_size,
            temperature=temperatures,
            gradient_clip=options.gradient_clip,
        )
        while True:
            with frozen(self):  # only around the step: what runs between steps may train
                state = next(states, None)
            if state is None:
                return
            yield state

    def start(self, noise: Noise, options: Any) -> dict[str, Any]:
        """Returns where the chain starts: the noise that gives the base's sample for that seed, scaled."""

        eps = noise.named(self.chain_shapes)
        odd = set(options.start) - set(eps)
        if odd:
            raise OptionError(
                f"the chain has no noise named {', '.join(sorted(odd))}", f"its noises are: {', '.join(eps)}"
            )
        for name, scale in options.start.items():
            eps[name] = tree_map(lambda e, scale=scale: scale * e, {name: eps[name]})[name]
        return eps

    def _states(self, noise: Noise, options: Any) -> Iterator[dict[str, Any]]:
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
        *_, eps = self._states(noise, chosen)
        with torch.no_grad():
            return self.push(eps, chosen.final_mean)


def tilt(base: Model, critic: Model, weight: float = 1.0) -> Tilted:
    """Returns `base` tilted by `critic`, as ``dgm sample BASE --tilt CRITIC:WEIGHT`` does.

    The base's own sampling default for `temperature`, where it has one, becomes the `base_temperature`, and
    its `mean: true` holds the noise "x" at zero.
    """

    for role, model, protocol in (("base", base, Pushforward), ("critic", critic, Critic)):
        if not isinstance(model, protocol):
            name = model.entry.name if model.entry else type(model).__name__
            raise UsageError(
                f"{name} is no {protocol.__name__.lower()} and can't be the {role} of a tilted model",
                f"dgm list --can {protocol.__name__.lower()}",
            )
    chosen = base.sampling()
    config: dict[str, Any] = {"weight": float(weight)}
    if isinstance(getattr(chosen, "temperature", None), float):
        config["base_temperature"] = chosen.temperature
    if getattr(chosen, "mean", None) is True and "x" in base.noise_shapes:
        config["mean"] = ["x"]
    model = Tilted(config, base=base, critic=critic)
    model.entry = base.entry
    return model.eval()
