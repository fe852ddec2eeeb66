"""The data set `tfim`: measurements of the ground state of a transverse-field Ising chain."""

from __future__ import annotations

import os
from functools import cached_property, lru_cache

import numpy as np
import torch
from torch import Tensor

from dgmcore.data import Dataset
from dgmcore.errors import DataError
from dgmcore.noise import IndexedNoise
from dgmcore.suggestions import did_you_mean

from .ising import expectations, ground_state
from .povm import POVM, pauli4, tetrahedral

__all__ = ["MEASURES", "TFIM", "tfim"]

SIZES = {"train": 200_000, "validation": 20_000, "test": 100_000}
MEASURES = {"tetrahedral": tetrahedral, "pauli4": pauli4}
#: The longest chain that is diagonalised, and the longest whose outcomes are all counted: 4 ** 8 of them.
MOST_SITES, MOST_COUNTED = 16, 8
_BLOCK = 4096  # samples that are measured at once: what bounds the memory


class TFIM(Dataset):
    """Outcomes 0 to 3 of each site of a chain, measured independently of each other.

    Arguments:
        split: `train`, `validation` or `test`.
        sites: The length of the chain.
        h: The field, in units of the coupling.
        povm: The measure of each site.
        periodic: Whether the chain is a ring.
        seed: Of the measurements.
    """

    levels = 4
    range = (0.0, 3.0)

    def __init__(self, split: str, sites: int, h: float, povm: POVM, periodic: bool, seed: int):
        self.name, self.split = "tfim", split
        self.sites, self.h, self.povm, self.periodic, self.seed = sites, h, povm, periodic, seed
        self.event_shape = (sites,)

    def __len__(self) -> int:
        return SIZES[self.split]

    def take(self, index: np.ndarray) -> Tensor:
        return torch.from_numpy(self._outcomes[np.asarray(index)].astype(np.float32))

    @cached_property
    def _outcomes(self) -> np.ndarray:
        ring = "/ring" if self.periodic else ""
        scope = f"tfim/{self.sites}/{self.h:g}/{self.povm.name}{ring}/{self.split}"
        noise = IndexedNoise(self.seed, len(self), scope=scope, dtype=torch.float64)
        u = noise.uniform(self.sites).numpy()
        blocks = [self.povm.sample(self.state, u[i : i + _BLOCK]) for i in range(0, len(u), _BLOCK)]
        return np.concatenate(blocks).astype(np.int8)

    @property
    def state(self) -> np.ndarray:
        """The ground state, float64 `(2 ** sites,)`."""

        return _solved(self.sites, self.h, self.periodic)[1]

    @property
    def energy(self) -> float:
        """The lowest energy, in units of the coupling."""

        return _solved(self.sites, self.h, self.periodic)[0]

    @cached_property
    def expectations(self) -> dict[str, np.ndarray]:
        """The exact expectations `x` and `z` of each site, and `zz` of each pair."""

        return dict(expectations(self.state, self.sites))

    @cached_property
    def probabilities(self) -> np.ndarray:
        """The exact probabilities of all outcomes, float64 `(4 ** sites,)`, site 1 being the slowest.

        Raises:
            DataError: If they are too many.
        """

        if self.sites > MOST_COUNTED:
            raise DataError(
                f"a chain of {self.sites} sites has 4^{self.sites} outcomes, too many to count all",
                f"choose n of at most {MOST_COUNTED}, or measure observables, which takes samples",
            )
        return self.povm.probabilities(self.state)

    def all_outcomes(self) -> Tensor:
        """Returns all outcomes in the order of `probabilities`, float32 `(4 ** sites, sites)`."""

        digits = np.indices((self.levels,) * self.sites, np.int8).reshape(self.sites, -1).T
        return torch.from_numpy(digits.astype(np.float32))


@lru_cache(maxsize=4)
def _solved(sites: int, h: float, periodic: bool) -> tuple[float, np.ndarray]:
    return ground_state(sites, h, periodic)


def tfim(
    split: str = "train",
    root: str | os.PathLike[str] | None = None,
    *,
    n: int = 8,
    h: float = 1.0,
    povm: str = "tetrahedral",
    boundary: str = "open",
    seed: int = 0,
) -> TFIM:
    """Measurements of the ground state of the transverse-field Ising chain, solved exactly; symbols 0 to 3.

    Arguments:
        split: `train`, `validation` or `test`.
        root: Not used: nothing is read.
        n: The number of sites.
        h: The field, in units of the coupling J.
        povm: The measure of each site, `tetrahedral` or `pauli4`.
        boundary: `open` or `periodic`.
        seed: Of the measurements.

    Raises:
        DataError: For a split or an option that there is not.
    """

    if split not in SIZES:
        raise DataError(f"tfim has no split {split!r}", f"its splits: {', '.join(SIZES)}")
    if povm not in MEASURES:
        raise DataError(f"tfim has no measure {povm!r}", did_you_mean(str(povm), MEASURES))
    if boundary not in ("open", "periodic"):
        raise DataError(f"tfim has no boundary {boundary!r}", "set boundary to open or periodic")
    if not _whole(n) or not n >= 1:
        raise DataError(f"the option n of tfim must be a whole number of at least 1, not {n!r}", "set n")
    if n > MOST_SITES:
        raise DataError(
            f"a chain of {n} sites has a state of 2^{n} numbers, too many to diagonalise",
            f"set n to at most {MOST_SITES}",
        )
    if isinstance(h, bool) or not isinstance(h, int | float) or not 0 < h <= 1e6:
        raise DataError(f"the option h of tfim must be a positive number, not {h!r}", "set h, the field over J")
    if not _whole(seed):
        raise DataError(f"the option seed of tfim must be a whole number, not {seed!r}", "set seed")
    return TFIM(split, n, float(h), MEASURES[povm](), boundary == "periodic", seed)


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
