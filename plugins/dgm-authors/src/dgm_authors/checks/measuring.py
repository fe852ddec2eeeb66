"""Checks on critics, densities and encoders."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from dgmcore.compose.nested import Nested, flatten, unflatten
from dgmcore.interfaces import Likelihood
from dgmcore.noise import IndexedNoise

from ..subject import Subject
from .base import Skip, registry

CHECKS, check = registry()


@check("critic")
def score_is_well_formed(it: Subject) -> None:
    """`score` maps (n, *event_shape) to (n,), finite, with finite and not all zero gradients in x."""

    _well_formed(it, it.model.score, "score")


@check("density")
def log_prob_is_well_formed(it: Subject) -> None:
    """`log_prob` maps (n, *event_shape) to (n,), finite, with finite and not all zero gradients in x.

    A probability of levels need not be differentiable: between them there is nothing.
    """

    _well_formed(it, it.log_prob, "log_prob", smooth=it.model.base_measure != "counting")


@check("density")
def log_prob_is_per_datum(it: Subject) -> None:
    """The log-density of a datum does not depend on the rest of its batch."""

    x = it.data(4)
    with torch.no_grad():
        whole, part = it.log_prob(x)[:2], it.log_prob(x[:2])
    gap = float((whole - part).abs().max())
    assert gap <= 1e-3 * max(1.0, float(whole.abs().max())), f"log_prob depends on the batch: {gap:.2g} nats"


@check("density")
def integrates_to_one(it: Subject) -> None:
    """In two dimensions a density integrates to 1, a lower bound to at most 1."""

    kind = it.model.likelihood
    if it.shape != (2,):
        raise Skip("the data are not two-dimensional")
    if kind is Likelihood.UNNORMALIZED:
        raise Skip("the density is unnormalised")
    total = _integral(it, points=80 if it.model.entry is None else 200)
    if kind is Likelihood.LOWER_BOUND:
        assert total <= 1.02, f"the lower bound integrates to {total:.4f} > 1: it is no bound"
    else:
        assert abs(total - 1) <= 0.02, f"the density integrates to {total:.4f}"


@check("density", "pushforward")
def density_matches_jacobian(it: Subject) -> None:
    """An exact density of a bijection is the noise's density less log|det J| of push, by autograd."""

    if not it.exact:
        raise Skip("the density is not exact")
    eps, flat, back = _flat_noise(it)
    size = math.prod(it.shape)
    if flat.shape[1] != size:
        raise Skip("push is no bijection: noise and data differ in size")
    if size > 256:
        raise Skip("the Jacobian is too large to form")
    model = it.fresh().double()
    x = model.push(eps).detach()
    for i in range(len(flat)):
        jacobian = torch.autograd.functional.jacobian(lambda e: model.push(back(e[None])).flatten(), flat[i])  # type: ignore[no-untyped-call]
        expected = -0.5 * flat[i].square().sum() - 0.5 * size * math.log(2 * math.pi) - jacobian.slogdet()[1]
        got = model.log_prob(x[i : i + 1])[0]
        assert abs(got - expected) <= 1e-4 * max(1.0, abs(float(expected))), (
            f"log_prob is {float(got):.6f}, the change of variables gives {float(expected):.6f}"
        )


@check("density")
def lower_bound_is_one(it: Subject) -> None:
    """A lower bound does not exceed a tighter one of the same model (more importance samples)."""

    if it.model.likelihood is not Likelihood.LOWER_BOUND:
        raise Skip("the density is no lower bound")
    if "k" not in type(it.model).Scoring.__struct_fields__:
        raise Skip("the bound has no option k of importance samples")
    x = it.data(16)
    with torch.no_grad():
        loose = torch.stack([it.model.log_prob(x, noise=it.noise(16, seed), k=1) for seed in range(8)]).mean()
        tight = it.model.log_prob(x, noise=it.noise(16), k=64).mean()
    assert loose <= tight + 0.05 * max(1.0, abs(float(tight)) * 0.01), (
        f"the bound {float(loose):.3f} exceeds the tighter bound {float(tight):.3f}"
    )


@check("autoregressive", "density")
def chains_multiply_to_the_density(it: Subject) -> None:
    """Each order visits every place once, and the conditionals of all chains give `log_prob`."""

    orders, size = it.model.orders, math.prod(it.shape)
    assert orders.shape[1:] == (size,), f"orders has the shape {tuple(orders.shape)}, not (M, {size})"
    assert torch.equal(orders.sort(1).values, torch.arange(size).expand_as(orders)), "an order is no permutation"
    x = it.data(4)
    with torch.no_grad():
        chains = torch.stack([it.model.log_conditionals(x, m).sum(1) for m in range(len(orders))])
        expected, got = chains.logsumexp(0) - math.log(len(orders)), it.log_prob(x)
    gap = float((got - expected).abs().max())
    assert gap <= 1e-4 * max(1.0, float(expected.abs().max())), f"log_prob and the chains differ by {gap:.2g} nats"


@check("autoregressive")
def chains_look_back_only(it: Subject) -> None:
    """Changing the values from one place of a chain on changes no conditional of the places before it."""

    n = 4
    x, other = it.data(n).flatten(1), it.data(n, seed=2).flatten(1)
    for chain, order in enumerate(it.model.orders.tolist()):
        with torch.no_grad():
            before = it.model.log_conditionals(x.view(n, *it.shape), chain)
            for t in {1, len(order) // 3, len(order) // 2, len(order) - 1}:
                changed = x.clone()
                changed[:, order[t:]] = other[:, order[t:]]
                after = it.model.log_conditionals(changed.view(n, *it.shape), chain)
                gap = float((after - before)[:, order[:t]].abs().amax()) if t else 0.0
                assert gap <= 1e-5, f"chain {chain}: what comes from step {t} on changes conditionals before it"


@check("encoder")
def decode_has_event_shape(it: Subject) -> None:
    """`decode(encode(x))` has the shape of x and is finite."""

    x = it.data(3)
    with torch.no_grad():
        y = it.model.decode(it.model.encode(x))
    assert y.shape == x.shape, f"the reconstruction has shape {tuple(y.shape)}, not {tuple(x.shape)}"
    assert torch.isfinite(y).all(), "the reconstruction is not finite"


@check("encoder", "density")
def decode_inverts_encode(it: Subject) -> None:
    """Where the density is exact, decoding the code gives x back."""

    if not it.exact:
        raise Skip("the model need not be invertible")
    model = it.fresh().double()
    x = it.data(3).double()
    with torch.no_grad():
        gap = float((model.decode(model.encode(x)) - x).abs().max())
    assert gap <= 1e-3, f"decode(encode(x)) is off by {gap:.2g}"


@check("features")
def features_are_well_formed(it: Subject) -> None:
    """`features` maps (n, *event_shape) to (n, d), finite, each row a function of its datum alone."""

    x = it.data(3)
    with torch.no_grad():
        y, first = it.model.features(x), it.model.features(x[:1])
    assert y.ndim == 2 and len(y) == 3, f"features have shape {tuple(y.shape)}, not (3, d)"
    assert torch.isfinite(y).all(), "features are not finite"
    assert torch.allclose(y[:1], first, atol=1e-4, rtol=1e-4), "the features of a datum depend on its batch"


def _well_formed(it: Subject, function: Callable[[Tensor], Tensor], name: str, smooth: bool = True) -> None:
    x = it.data(3).requires_grad_()
    y = function(x)
    assert tuple(y.shape) == (3,), f"{name} has shape {tuple(y.shape)}, not (3,)"
    assert torch.isfinite(y).all(), f"{name} is not finite"
    if not smooth:
        return
    (grad,) = torch.autograd.grad(y.sum(), x, allow_unused=True)
    assert grad is not None, f"{name} is not differentiable in x"
    assert torch.isfinite(grad).all(), f"the gradient of {name} is not finite"
    assert grad.abs().max() > 0, f"the gradient of {name} is zero everywhere"


def _integral(it: Subject, points: int) -> float:
    """Integrates exp(log_prob) over a box that holds the model's samples with a wide margin."""

    x = it.data(2000) if it.model.can("generator") else torch.tensor([[-8.0, -8.0], [8.0, 8.0]]).to(it.data(1))
    low, high = x.amin(0), x.amax(0)
    margin = 0.75 * (high - low) + 0.5
    low, high = low - margin, high + margin
    axes = [
        torch.linspace(float(a), float(b), points, dtype=x.dtype, device=x.device)
        for a, b in zip(low, high, strict=True)
    ]
    grid = torch.cartesian_prod(*axes)
    with torch.no_grad():
        density = torch.cat([it.log_prob(part).exp() for part in torch.split(grid, 4000)])
    cell = math.prod(float(b - a) / (points - 1) for a, b in zip(low, high, strict=True))
    return float(density.double().sum()) * cell


def _flat_noise(it: Subject) -> tuple[Nested, Tensor, Callable[[Tensor], Nested]]:
    """Returns float64 noise of two samples as a tree, as a matrix, and the way back."""

    tree = IndexedNoise(3, 2, device=it.model.device, dtype=torch.float64).named(it.model.noise_shapes)
    leaves = flatten(tree)
    sizes = [leaf[0].numel() for leaf in leaves.values()]

    def back(matrix: Tensor) -> Nested:
        pieces = zip(leaves.items(), torch.split(matrix, sizes, 1), strict=True)
        return unflatten({name: piece.reshape(len(matrix), *leaf.shape[1:]) for (name, leaf), piece in pieces})

    return tree, torch.cat([leaf.flatten(1) for leaf in leaves.values()], 1), back
