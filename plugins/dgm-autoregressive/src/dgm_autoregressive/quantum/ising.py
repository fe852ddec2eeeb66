r"""The transverse-field Ising chain, solved exactly.

.. math:: H = -J \sum_{i} \sigma^z_i \sigma^z_{i+1} - h \sum_{i=1}^N \sigma^x_i, \qquad J = 1,

the first sum over the N - 1 bonds of an open chain, or the N bonds of a ring. States are vectors of
:math:`2^N` amplitudes in the basis of :math:`\sigma^z`, site 1 being the most significant bit, 0 being up.

References:
    What physicists want to know about advances in generative modeling (Albergo), eq. 17
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from scipy.sparse import csr_matrix

__all__ = ["bonds", "ground_state", "hamiltonian"]


def bonds(n: int, periodic: bool) -> list[tuple[int, int]]:
    """Returns the pairs of neighbours, sites counted from 0; a ring of two sites has one bond."""

    return [(i, i + 1) for i in range(n - 1)] + ([(n - 1, 0)] if periodic and n > 2 else [])


def spins(n: int) -> np.ndarray:
    """Returns the eigenvalue of each site's sigma z in each basis state, int8 `(n, 2 ** n)`."""

    states = np.arange(2**n)
    return np.stack([1 - 2 * ((states >> (n - 1 - i)) & 1) for i in range(n)]).astype(np.int8)


def hamiltonian(n: int, h: float, periodic: bool = False) -> csr_matrix:
    """Returns H as a sparse matrix, `(2 ** n, 2 ** n)`."""

    from scipy import sparse

    z, states = spins(n), np.arange(2**n)
    diagonal = -sum((z[i] * z[j] for i, j in bonds(n, periodic)), np.zeros(2**n))
    rows = np.tile(states, n)
    flipped = np.concatenate([states ^ (1 << i) for i in range(n)])
    field = sparse.csr_matrix((np.full(n * 2**n, -float(h)), (rows, flipped)), shape=(2**n, 2**n))
    return (sparse.diags(diagonal) + field).tocsr()


def ground_state(n: int, h: float, periodic: bool = False) -> tuple[float, np.ndarray]:
    """Returns the lowest energy and its state, float64 `(2 ** n,)`, with amplitudes that are not negative.

    For h > 0 there is one such state, and flipping all spins leaves it as it is (Perron and Frobenius): the search
    starts in that sector, so that it is found where the next state is too near to be told from it.
    """

    from scipy.sparse.linalg import eigsh

    matrix = hamiltonian(n, h, periodic)
    if n == 1:
        return -float(h), np.full(2, 2**-0.5)
    if n <= 3:  # too small for Lanczos
        _, vectors = np.linalg.eigh(matrix.toarray())
        state = vectors[:, 0]
    else:
        _, vectors = eigsh(matrix, k=1, which="SA", v0=np.full(2**n, 2 ** (-n / 2)))
        state = vectors[:, 0]
    state = np.abs(state + state[::-1])
    state /= np.linalg.norm(state)
    return float(state @ (matrix @ state)), state


def expectations(state: np.ndarray, n: int) -> Iterator[tuple[str, np.ndarray]]:
    r"""Yields exact expectations: `x`, :math:`\langle \sigma^x_i \rangle` `(n,)`, `z` likewise, and `zz` `(n, n)`."""

    p, z = state**2, spins(n).astype(float)
    states = np.arange(2**n)
    yield "x", np.array([state @ state[states ^ (1 << (n - 1 - i))] for i in range(n)])
    yield "z", z @ p
    yield "zz", (z * p) @ z.T
