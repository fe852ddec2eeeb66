"""Checks on generators: shapes, ranges, and the noise contract."""

from __future__ import annotations

from typing import Any

import torch

from ..subject import Subject
from .base import Skip, registry

CHECKS, check = registry()

_N = 5


@check("generator")
def samples_are_well_formed(it: Subject) -> None:
    """Samples have the stated shape, dtype and range, and are finite."""

    x = it.sample(_N)
    assert tuple(x.shape) == (_N, *it.shape), f"sample(n={_N}) has shape {tuple(x.shape)}, not {(_N, *it.shape)}"
    assert x.dtype == it.model.dtype, f"samples are {x.dtype}, the model is {it.model.dtype}"
    assert torch.isfinite(x).all(), "samples are not finite"
    # an exact density of dequantised data has unbounded support; `dgmcore.sample` cuts what overshoots
    if it.range is not None and not it.exact:
        low, high = it.range
        slack = 1e-6 * (high - low)
        assert x.min() >= low - slack and x.max() <= high + slack, (
            f"samples reach from {x.min():.3g} to {x.max():.3g}, outside {it.range}"
        )


@check("generator")
def same_seed_same_bits(it: Subject) -> None:
    """The same seed gives the same bits, another seed others."""

    a, b, c = it.sample(_N, seed=0), it.sample(_N, seed=0), it.sample(_N, seed=1)
    assert torch.equal(a, b), "two draws with one seed differ: some randomness does not come from `noise`"
    assert not torch.equal(a, c), "two seeds give the same samples: `noise` is not used"


@check("generator")
def independent_of_batch_size(it: Subject) -> None:
    """Five samples in batches of two are the five of one batch, whichever version of the noise draws them."""

    def draw(n: int, start: int, version: int) -> torch.Tensor:
        noise = it.noise(n, start=start)
        noise.version = version
        with torch.no_grad():
            return it.model.sample(noise)

    for version in (1, 2):
        parts = torch.cat([draw(n, start, version) for start, n in ((0, 2), (2, 2), (4, 1))])
        _close(draw(_N, 0, version), parts, it, f"samples depend on the batch size (noise of version {version})")


@check("generator")
def independent_of_n(it: Subject) -> None:
    """Three samples are the first three of five."""

    _close(it.sample(_N)[:3], it.sample(3), it, "samples depend on how many are asked for")


@check("generator")
def independent_of_processes(it: Subject) -> None:
    """Two processes that share an index range draw what one draws."""

    first, second = it.sample(3), it.fresh().sample(it.noise(2, start=3))
    _close(it.sample(_N), torch.cat([first, second.detach()]), it, "samples depend on the number of processes")


@check()
def global_random_state_untouched(it: Subject) -> None:
    """Drawing, scoring and measuring leave torch's global random state alone."""

    x = it.data(2)
    before = torch.random.get_rng_state()
    for what, use in it.uses():
        use(x)
        assert torch.equal(before, torch.random.get_rng_state()), f"{what} changed the global random state"


@check("pushforward")
def push_is_differentiable(it: Subject) -> None:
    """`push` has finite gradients with respect to every noise, not all of them zero."""

    eps = it.noise(2).named(it.model.noise_shapes)
    leaves = [e.requires_grad_() for e in _leaves(eps)]
    x = it.model.push(eps)
    assert tuple(x.shape) == (2, *it.shape), f"push has shape {tuple(x.shape)}, not {(2, *it.shape)}"
    grads = torch.autograd.grad(
        (x * torch.linspace(0.5, 1.5, x.numel()).reshape(x.shape)).sum(), leaves, allow_unused=True
    )
    assert all(g is not None for g in grads), "push does not depend on all of its noise"
    assert all(torch.isfinite(g).all() for g in grads), "a gradient of push is not finite"
    assert any(g.abs().max() > 0 for g in grads), "all gradients of push are zero"


@check("pushforward", "generator")
def push_agrees_with_sample(it: Subject) -> None:
    """With the class's default options `sample(noise)` is `push(noise.named(noise_shapes))`."""

    model = it.fresh()  # without the defaults of an entry
    with torch.no_grad():
        x = model.sample(it.noise(3))
        y = model.push(it.noise(3).named(model.noise_shapes))
    _close(x, y, it, "sample and push disagree")


@check("trajectory", "generator")
def trajectory_ends_in_the_sample(it: Subject) -> None:
    """The last state of `trajectory` is what `sample` returns, and every state has the event's shape."""

    with torch.no_grad():
        states = list(it.model.trajectory(it.noise(2)))
    assert states, "the trajectory is empty"
    for s in states:
        assert tuple(s.shape) == (2, *it.shape), f"a state has shape {tuple(s.shape)}, not {(2, *it.shape)}"
    _close(states[-1], it.sample(2), it, "the trajectory does not end in the sample")


@check("generator")
def distinct_samples(it: Subject) -> None:
    """Samples of one batch differ from each other."""

    x = it.sample(4).flatten(1)
    if x.shape[1] == 0:
        raise Skip("the event is empty")
    assert all(not torch.equal(x[i], x[j]) for i in range(4) for j in range(i)), "two samples of a batch are equal"


def _leaves(tree: Any) -> list[torch.Tensor]:
    if isinstance(tree, torch.Tensor):
        return [tree]
    return [leaf for value in tree.values() for leaf in _leaves(value)]


def _close(a: torch.Tensor, b: torch.Tensor, it: Subject, what: str) -> None:
    """Compares up to the arithmetic of batched kernels: 1e-4 of the data's range."""

    spread = (it.range[1] - it.range[0]) if it.range else max(1.0, float(a.abs().max()))
    gap = float((a - b).abs().max())
    assert gap <= 1e-4 * spread, f"{what}: they differ by {gap:.2g}"
