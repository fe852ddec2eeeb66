r"""Measurements of a chain of qubits, one of K outcomes for each, and the states that they tell apart.

A positive operator-valued measure is a set of positive matrices with :math:`\sum_a M^a = 1`; Born's rule gives the
outcomes :math:`a = (a_1, \dots, a_N)` of a state :math:`\psi` the probability

.. math:: P(a) = \langle \psi | M^{a_1} \otimes \dots \otimes M^{a_N} | \psi \rangle.

The measures here are informationally complete: four matrices that span all 2 x 2 ones. So there is a dual frame
:math:`D^a = \sum_b (T^{-1})_{ab} M^b`, :math:`T_{ab} = \mathrm{tr}\, M^a M^b`, with
:math:`\rho = \sum_a P(a) \bigotimes_i D^{a_i}`, and expectations are means over outcomes:

.. math:: \langle O_1 \otimes \dots \otimes O_N \rangle = \mathbb E_{a \sim P} \prod_i \mathrm{tr}(O_i D^{a_i}).

References:
    What physicists want to know about advances in generative modeling (Albergo), section 1;
    Reconstructing quantum states with generative models (Carrasquilla et al., 2019), https://arxiv.org/abs/1810.10584
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

__all__ = ["PAULI", "POVM", "pauli4", "tetrahedral"]

#: The matrices of Pauli: `1`, `x`, `y`, `z`.
PAULI = {
    "1": np.eye(2, dtype=complex),
    "x": np.array([[0, 1], [1, 0]], dtype=complex),
    "y": np.array([[0, -1j], [1j, 0]]),
    "z": np.array([[1, 0], [0, -1]], dtype=complex),
}


@dataclass(frozen=True, eq=False)
class POVM:
    """A measure of one qubit.

    Attributes:
        name: What it is called.
        elements: The matrices, complex `(K, 2, 2)`.
    """

    name: str
    elements: np.ndarray

    @cached_property
    def dual(self) -> np.ndarray:
        """The dual frame, complex `(K, 2, 2)`."""

        overlaps = np.einsum("aij,bji->ab", self.elements, self.elements).real
        return np.einsum("ab,bij->aij", np.linalg.inv(overlaps), self.elements)

    def values(self, operator: np.ndarray) -> np.ndarray:
        r"""Returns what each outcome counts for an operator of one site, :math:`\mathrm{tr}(O D^a)`, float64 `(K,)`."""

        return np.einsum("ij,aji->a", operator, self.dual).real

    @cached_property
    def rays(self) -> tuple[np.ndarray, np.ndarray]:
        r"""Vectors `(R, 2)` and their outcomes `(R,)`: :math:`M^a = \sum_r |v_r\rangle\langle v_r|` over those of a."""

        vectors, outcomes = [], []
        for a, matrix in enumerate(self.elements):
            weights, columns = np.linalg.eigh(matrix)
            for weight, column in zip(weights, columns.T, strict=True):
                if weight > 1e-12:
                    vectors.append(math.sqrt(weight) * column)
                    outcomes.append(a)
        return np.array(vectors), np.array(outcomes)

    def probabilities(self, state: np.ndarray) -> np.ndarray:
        """Returns P(a) of all outcomes of a state `(2 ** n,)`, float64 `(K ** n,)`, site 1 being the slowest."""

        n = (len(state) - 1).bit_length()
        vectors, outcomes = self.rays
        amplitudes = state.astype(complex).reshape((2,) * n)
        for _ in range(n):  # the first axis goes, and comes back as the last
            amplitudes = np.tensordot(amplitudes, vectors.conj(), axes=(0, 1))
        p = np.abs(amplitudes) ** 2
        merge = (outcomes[:, None] == np.arange(len(self.elements))).astype(float)
        for _ in range(n):
            p = np.tensordot(p, merge, axes=(0, 0))
        return p.reshape(-1)

    def sample(self, state: np.ndarray, u: np.ndarray) -> np.ndarray:
        """Returns outcomes of a state, site by site, from uniform numbers `(m, n)`; int64 `(m, n)`.

        Sites that have been measured leave the state of the others; samples that agree so far share it.
        """

        n = u.shape[1]
        vectors, outcomes = self.rays
        states = state.astype(complex)[None]  # of each beginning that occurs, the rest of the chain
        which = np.zeros(len(u), np.int64)
        found = np.empty(u.shape, np.int64)
        for site in range(n):
            # (beginnings, rays, rest of the chain)
            rest = np.einsum("rs,psk->prk", vectors.conj(), states.reshape(len(states), 2, -1))
            p = np.square(np.abs(rest)).sum(2)
            cumulative = (p / p.sum(1, keepdims=True)).cumsum(1)
            ray = (u[:, site, None] >= cumulative[which, :-1]).sum(1)
            found[:, site] = outcomes[ray]
            seen, which = np.unique(which * len(vectors) + ray, return_inverse=True)
            states = rest.reshape(len(rest) * len(vectors), -1)[seen]
            states /= np.linalg.norm(states, axis=1, keepdims=True)
        return found


def tetrahedral() -> POVM:
    r"""Returns :math:`M^a = \frac14 (1 + s_a \cdot \sigma)` with the corners :math:`s_a` of a tetrahedron.

    They are (0, 0, 1), :math:`(2\sqrt2/3, 0, -1/3)`, :math:`(-\sqrt2/3, \sqrt{2/3}, -1/3)` and
    :math:`(-\sqrt2/3, -\sqrt{2/3}, -1/3)`.
    """

    a, b = math.sqrt(2) / 3, math.sqrt(2 / 3)
    corners = np.array([[0, 0, 1], [2 * a, 0, -1 / 3], [-a, b, -1 / 3], [-a, -b, -1 / 3]])
    sigma = np.stack([PAULI[k] for k in "xyz"])
    return POVM("tetrahedral", (PAULI["1"] + np.einsum("ak,kij->aij", corners, sigma)) / 4)


def pauli4() -> POVM:
    r"""Returns a third of the projectors on spin up along z, x and y, and what is left, :math:`1 - M^0 - M^1 - M^2`."""

    first = np.stack([(PAULI["1"] + PAULI[k]) / 6 for k in "zxy"])
    return POVM("pauli4", np.concatenate([first, (PAULI["1"] - first.sum(0))[None]]))
