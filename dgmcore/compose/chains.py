"""Markov chains on nested dictionaries of noise: Langevin dynamics, and Metropolis steps that need no gradient.

References:
    [1] Deep generative models: exponential tilting (Xiao, doctoral thesis, 2022), sections 4.3.1 to 4.3.3
    [2] MCMC Methods for Functions: Modifying Old Algorithms to Make Them Faster (Cotter et al., 2013),
        https://arxiv.org/abs/1202.0709
    [3] Metropolis-Hastings Generative Adversarial Networks (Turner et al., 2019), https://arxiv.org/abs/1811.11357
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from ..errors import OptionError
from ..noise import Noise

__all__ = ["Nested", "flatten", "half_square", "langevin", "langevin_step", "metropolis", "tree_map", "unflatten"]

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

    if not step_size >= 0:
        raise OptionError(f"a Langevin step of size {step_size:g}", "choose step_size of at least 0")
    for t in _each(temperature, steps):
        w = tree_map(lambda e: noise.normal(*e.shape[1:]), eps)
        eps = langevin_step(potential, eps, w, step_size, t, gradient_clip)
        if project is not None:
            eps = tree_map(project, eps)
        yield eps


def half_square(eps: Nested) -> Tensor:
    """Returns half the squared length of all noise of a sample, shape `(n,)`."""

    return sum(e.flatten(1).square().sum(1) for e in flatten(eps).values()) / 2


# --- Metropolis ----------------------------------------------------------------------------------


def metropolis(
    excess: Potential,
    eps: Nested,
    noise: Noise,
    *,
    steps: int,
    step_size: float,
    temperature: float | Sequence[float] = 1.0,
) -> Iterator[dict[str, Any]]:
    r"""Runs Metropolis steps with proposals that leave N(0, I) as it is, and yields the state after each.

    The proposal is the preconditioned Crank-Nicolson one [2, eq. 4.5],

    .. math:: \epsilon^* = \sqrt{1 - \beta^2} \, \epsilon + \beta \, \omega,

    accepted with probability :math:`\min(1, \exp((\Phi(\epsilon) - \Phi(\epsilon^*)) / T))`. In any dimension the
    chain's density for T = 1 is :math:`N(\epsilon; 0, I) \, e^{-\Phi(\epsilon)}`, without the error of Langevin's
    steps. It follows no gradient, so it does not seek the pictures that fool a critic without looking better. With
    :math:`\beta = 1` the proposals are fresh samples: Metropolis-Hastings GAN [3].

    Arguments:
        excess: Maps nested noise, leaves `(n, *shape)`, to :math:`\Phi`, shape `(n,)`: the potential without the
            Gaussian's :math:`|\epsilon|^2 / 2`.
        eps: The start, leaves `(n, *shape)`.
        noise: The source of all randomness, `noise.n == n`.
        steps: The number of proposals.
        step_size: :math:`\beta`, above 0, at most 1.
        temperature: T, or one for each step; 0 accepts what is better and nothing else.

    Example:
        >>> from dgmcore.noise import IndexedNoise
        >>> noise = IndexedNoise(seed=0, n=2000)
        >>> start = noise.named({"z": (2,)})
        >>> to_one = lambda eps: -eps["z"].sum(-1)
        >>> *_, last = metropolis(to_one, start, noise, steps=50, step_size=0.8)
        >>> bool((last["z"].mean(0) - 1).abs().max() < 0.1)
        True
    """

    if not 0 < step_size <= 1:
        raise OptionError(f"a Metropolis step of size {step_size:g}", "choose step_size above 0 and at most 1")
    keep = math.sqrt(1 - step_size**2)

    with torch.no_grad():
        now = excess(eps)
    for t in _each(temperature, steps):
        proposal = tree_map(lambda e: keep * e + step_size * noise.normal(*e.shape[1:]), eps)
        with torch.no_grad():
            then = excess(proposal)
        # log u < (now - then) / T, without dividing by T
        accepted = t * noise.uniform().log() < now - then
        now = torch.where(accepted, then, now)
        eps = tree_map(lambda e, p, a=accepted: torch.where(a.view(-1, *[1] * (e.dim() - 1)), p, e), eps, proposal)
        yield eps


def _each(temperature: float | Sequence[float], steps: int) -> list[float]:
    """Returns a temperature for each step, having checked both."""

    if steps < 0:
        raise OptionError(f"a chain of {steps} steps", "choose steps of at least 0")
    each = [float(temperature)] * steps if isinstance(temperature, (int, float)) else list(temperature)
    if len(each) != steps:
        raise OptionError(f"{len(each)} temperatures for {steps} steps", "give one number, or one for each step")
    for t in each:
        if not t >= 0:
            raise OptionError(f"a chain at temperature {t:g}", "choose a temperature of at least 0")
    return each
