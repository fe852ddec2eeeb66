"""Langevin dynamics on nested dictionaries of noise.

References:
    Designing Deep Generative Models with Symbiotic Composition (Xiao, doctoral thesis, 2022), sections 4.3.1 to 4.3.3
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor

from ..errors import OptionError
from ..noise import Noise
from .finite import finite_potential, finite_state
from .gradients import gradients, leaf
from .nested import Nested, Potential, flatten, tree_map
from .temperature import of_each_step

__all__ = ["langevin", "langevin_step"]


def langevin_step(
    potential: Potential,
    eps: Nested,
    w: Nested,
    step_size: float,
    temperature: float = 1.0,
    gradient_clip: float | None = None,
    *,
    number: int = 0,
) -> Nested:
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
        number: The number of steps made before, for the error.

    Raises:
        NotFiniteError: If U is not finite.
    """
    with gradients():
        state = tree_map(leaf, eps)
        u = finite_potential(potential(state), number)
        found = iter(torch.autograd.grad(u.sum(), list(flatten(state).values()), allow_unused=True))
    slopes = tree_map(lambda e: next(found), state)
    noise_scale = math.sqrt(step_size * temperature)

    def moved(e: Tensor, slope: Tensor | None, o: Tensor) -> Tensor:
        if slope is None:  # U does not depend on this noise
            return e.detach().add(o, alpha=noise_scale)
        if gradient_clip is not None:
            slope = slope.clamp(-gradient_clip, gradient_clip)
        return e.detach().add(slope, alpha=-step_size / 2).add_(o, alpha=noise_scale)

    after: Nested = tree_map(moved, state, slopes, w)
    return after


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
) -> Iterator[Nested]:
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

    Raises:
        OptionError: For a number that is out of range.
        NotFiniteError: If U, or the last state, is not finite.

    Example:
        >>> from dgmcore.noise import IndexedNoise
        >>> noise = IndexedNoise(seed=0, n=1000)
        >>> start = noise.named({"z": (2,)})
        >>> to_three = lambda eps: (eps["z"] - 3).square().sum(-1) / 2
        >>> *_, last = langevin(to_three, start, noise, steps=100, step_size=0.2)
        >>> bool((last["z"].mean(0) - 3).abs().max() < 0.2)
        True
    """
    if not 0 <= step_size < math.inf:
        raise OptionError(f"a Langevin step of size {step_size:g}", "choose step_size of at least 0")
    for done, t in enumerate(of_each_step(temperature, steps)):
        w = tree_map(lambda e: noise.normal(*e.shape[1:]), eps)
        eps = langevin_step(potential, eps, w, step_size, t, gradient_clip, number=done)
        if project is not None:
            eps = tree_map(project, eps)
        if done + 1 == steps:  # no potential will be asked of it
            finite_state(eps, steps)
        yield eps
