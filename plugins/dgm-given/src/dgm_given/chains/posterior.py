"""What chains of a model under observations run on: one flat vector of noise for each sample."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from dgmcore.compose import Tilted, flatten, gradients, leaf, unflatten
from dgmcore.errors import NotFiniteError
from dgmcore.noise import Noise

from .blocks import in_blocks
from .state import State

__all__ = ["Posterior", "viewed"]

_VIEWED = 4  # numbers of a sample that diagnostics look at


class Posterior:
    r"""The density :math:`h(\epsilon) \propto N(\epsilon; 0, I) \, e^{-\Phi(\epsilon)}` of a base and critics.

    Arguments:
        base: The tilted base.
        terms: Functions of samples `(n, *event_shape)` to log-likelihoods `(n,)`, added up.
        block: Samples are pushed in blocks of so many, the last filled up: the same arithmetic in every batch.
        weight: A factor on the base's own score.
    """

    def __init__(self, base: Tilted, terms: Sequence[Any], block: int, weight: float = 1.0):
        self.base, self.terms, self.block, self.weight = base, list(terms), block, weight
        self.heat = 1.0  # a factor on all of it, below 1 where the base does not reach what was seen
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(shape) for name, shape in flatten(base.chain_shapes).items()
        }
        self.dim = sum(math.prod(shape) for shape in self.shapes.values())

    # --- flat and nested ---------------------------------------------------------------------------

    def draw(self, noise: Noise) -> Tensor:
        """Returns the noise that gives the base's own samples, flat `(n, D)`."""

        return self.flat(noise.named(self.base.chain_shapes))

    def flat(self, eps: Mapping[str, Any]) -> Tensor:
        """Returns nested noise as `(n, D)`."""

        return torch.cat([leaf.flatten(1) for leaf in flatten(eps).values()], 1)

    def nested(self, eps: Tensor) -> dict[str, Any]:
        """Returns flat noise as the base takes it."""

        sizes = [math.prod(shape) for shape in self.shapes.values()]
        parts = eps.split(sizes, 1)
        leaves = zip(self.shapes.items(), parts, strict=True)
        return unflatten({name: part.reshape(-1, *shape) for (name, shape), part in leaves})

    # --- evaluation ----------------------------------------------------------------------------------

    def data(self, eps: Tensor, mean: Sequence[str] = ()) -> Tensor:
        """Returns the samples at `eps`, `(n, *event_shape)`."""

        with torch.no_grad():
            (x,) = in_blocks(lambda block: (self.base.push(self.nested(block), mean),), eps, self.block)
        return x

    def evaluate(self, eps: Tensor, slopes: bool = False) -> State:
        """Returns the state at `eps`; see :class:`.chains.State`."""

        phi, view, slope = in_blocks(lambda block: self._block(block, slopes), eps, self.block)
        return State(eps, phi, slope if slopes else None, view)

    def _block(self, eps: Tensor, slopes: bool) -> tuple[Tensor, Tensor, Tensor]:
        if not slopes:
            with torch.no_grad():
                phi, x = self._excess(eps)
            return phi, viewed(x), eps
        with gradients():
            e = leaf(eps)
            phi, x = self._excess(e)
            (slope,) = torch.autograd.grad(phi.sum(), e, allow_unused=True)
        return phi.detach(), viewed(x.detach()), torch.zeros_like(eps) if slope is None else slope

    def _excess(self, eps: Tensor) -> tuple[Tensor, Tensor]:
        phi, x = self.base.judged(self.nested(eps), self.weight)
        for term in self.terms:
            phi = phi - term(x)
        return phi if self.heat == 1.0 else self.heat * phi, x

    def checked(self, state: State) -> State:
        """Returns the first state of chains.

        Raises:
            NotFiniteError: If a critic's score is NaN there.
        """

        bad = int((state.phi.isnan() | (state.phi == -torch.inf)).sum())
        if bad:
            raise NotFiniteError(
                f"the critics' score of {bad} of {len(state.phi)} samples is not finite, before the first step",
                "check the critics: their weights, and the data that they were trained on",
            )
        return state


def viewed(x: Tensor) -> Tensor:
    """Returns a few numbers of each sample, `(n, k)`: its values, or of many a few sums with random signs."""

    flat = x.flatten(1)
    if flat.shape[1] <= _VIEWED:
        return flat.clone()
    signs = torch.randint(0, 2, (_VIEWED, flat.shape[1]), generator=torch.Generator().manual_seed(0)) * 2 - 1
    signs = signs.to(flat) / math.sqrt(flat.shape[1])
    return torch.stack([(flat * row).sum(1) for row in signs], 1)
