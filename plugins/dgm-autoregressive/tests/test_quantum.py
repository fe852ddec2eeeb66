"""Chains of qubits: Hamiltonians against dense ones, measures, their dual frames, exact and drawn outcomes, metrics."""

from __future__ import annotations

import itertools
from functools import reduce

import numpy as np
import pytest
import torch
from dgm_autoregressive.quantum.ising import expectations, ground_state, hamiltonian
from dgm_autoregressive.quantum.observables import exact, reconstructed
from dgm_autoregressive.quantum.povm import PAULI, pauli4, tetrahedral
from dgm_autoregressive.quantum.tfim import SIZES, tfim
from dgm_autoregressive.rnn import RNN
from scipy import stats

import dgmcore
from dgmcore.data import open_data, open_for
from dgmcore.errors import DataError, DgmError, UsageError

FIELDS = (0.5, 1.0, 2.0)


def kron(*matrices):
    return reduce(np.kron, matrices)


def dense(n, h, periodic=False):
    """The Hamiltonian as the formula writes it."""

    def site(k, i):
        return kron(*(PAULI[k] if j == i else PAULI["1"] for j in range(n)))

    total = -h * sum(site("x", i) for i in range(n))
    for i in range(n if periodic else n - 1):
        total = total - site("z", i) @ site("z", (i + 1) % n)
    return total


# --- the chain ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, periodic", [(1, False), (2, False), (3, False), (3, True), (5, False), (6, True)])
@pytest.mark.parametrize("h", FIELDS)
def test_the_hamiltonian_and_its_ground_state_are_those_of_dense_algebra(n, periodic, h):
    matrix = dense(n, h, periodic)
    assert np.array_equal(hamiltonian(n, h, periodic).toarray(), matrix.real)
    values, vectors = np.linalg.eigh(matrix)
    energy, state = ground_state(n, h, periodic)
    assert energy == pytest.approx(values[0], abs=1e-10)
    assert abs(vectors[:, 0].conj() @ state) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("n", [4, 8, 12])
@pytest.mark.parametrize("h", (*FIELDS, 0.05))
def test_energies_are_those_of_free_fermions(n, h):
    """Pfeuty (1970): an open chain's is minus the sum of the singular values of a bidiagonal matrix."""
    bidiagonal = np.diag(np.full(n, h)) + np.diag(np.ones(n - 1), 1)
    energy, state = ground_state(n, h)
    assert energy == pytest.approx(-np.linalg.svd(bidiagonal, compute_uv=False).sum(), abs=1e-9)
    assert np.allclose(state, state[::-1]), "flipping all spins leaves it, however near the next state is"
    ring = 2 * np.sqrt(1 + h**2 - 2 * h * np.cos(np.pi * (2 * np.arange(n) + 1) / n)).sum() / 2
    assert ground_state(n, h, periodic=True)[0] == pytest.approx(-ring, abs=1e-9)


@pytest.mark.parametrize("h", FIELDS)
def test_expectations_are_those_of_dense_algebra(h):
    n = 4
    _, state = ground_state(n, h)
    found = dict(expectations(state, n))

    def mean(*letters):
        return float((state @ kron(*(PAULI[k] for k in letters)) @ state).real)

    assert found["x"][1] == pytest.approx(mean("1", "x", "1", "1"))
    assert found["z"][2] == pytest.approx(mean("1", "1", "z", "1"), abs=1e-12)
    assert found["zz"][0, 3] == pytest.approx(mean("z", "1", "1", "z"))


# --- measures -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [tetrahedral, pauli4])
def test_measures_are_complete_and_their_duals_give_states_back(make):
    measure = make()
    assert np.allclose(measure.elements.sum(0), np.eye(2)), "the outcomes are all there are"
    assert all(np.linalg.eigvalsh(m).min() >= -1e-12 for m in measure.elements), "no probability is negative"
    assert np.linalg.matrix_rank(measure.elements.reshape(4, 4)) == 4, "they tell all states apart"
    random = np.random.default_rng(0)
    root = random.normal(size=(2, 2)) + 1j * random.normal(size=(2, 2))
    state = root @ root.conj().T / np.trace(root @ root.conj().T)
    p = np.einsum("aij,ji->a", measure.elements, state).real
    assert np.allclose(np.einsum("a,aij->ij", p, measure.dual), state)
    vectors, outcomes = measure.rays
    for a, element in enumerate(measure.elements):
        own = vectors[outcomes == a]
        assert np.allclose(np.einsum("ri,rj->ij", own, own.conj()), element)


def test_the_tetrahedrons_corners_are_equally_far_from_each_other():
    elements = tetrahedral().elements
    overlaps = np.einsum("aij,bji->ab", elements, elements).real
    assert np.allclose(overlaps, np.where(np.eye(4), 1 / 4, 1 / 12))


@pytest.mark.parametrize("make", [tetrahedral, pauli4])
@pytest.mark.parametrize("n", [1, 2, 4])
def test_exact_probabilities_are_borns_rule(make, n):
    measure, (_, state) = make(), ground_state(n, 0.7)
    expected = [
        (state @ kron(*(measure.elements[a] for a in outcome)) @ state).real
        for outcome in itertools.product(range(4), repeat=n)
    ]
    assert np.allclose(measure.probabilities(state), expected, atol=1e-14)


@pytest.mark.parametrize("make", [tetrahedral, pauli4])
def test_drawn_outcomes_follow_borns_rule_for_complex_states_too(make):
    measure, n, m = make(), 3, 40_000
    random = np.random.default_rng(1)
    state = random.normal(size=2**n) + 1j * random.normal(size=2**n)
    state /= np.linalg.norm(state)
    drawn = measure.sample(state, random.random((m, n)))
    counts = np.bincount(drawn @ 4 ** np.arange(n - 1, -1, -1), minlength=4**n)
    assert stats.chisquare(counts, m * measure.probabilities(state)).pvalue > 1e-3


# --- the data set -------------------------------------------------------------------------------------


@pytest.mark.parametrize("povm", ["tetrahedral", "pauli4"])
def test_data_are_symbols_and_the_same_for_everybody(povm):
    data = open_data("tfim:validation", options={"n": 5, "h": 0.5, "povm": povm})
    assert data.event_shape == (5,) and data.levels == 4 and data.range == (0.0, 3.0)
    assert len(data) == SIZES["validation"]
    x = data.take(np.arange(len(data)))
    assert sorted(x.unique().tolist()) == [0, 1, 2, 3]
    again = tfim("validation", n=5, h=0.5, povm=povm)
    assert torch.equal(x, again.take(np.arange(len(again))))
    assert not torch.equal(x, tfim("validation", n=5, h=0.5, povm=povm, seed=1).take(np.arange(len(data))))
    counts = np.bincount(x.numpy().astype(int) @ 4 ** np.arange(4, -1, -1), minlength=4**5)
    expected = len(x) * again.probabilities
    common = expected >= 5
    seen, awaited = (
        np.append(counts[common], counts[~common].sum()),
        np.append(expected[common], expected[~common].sum()),
    )
    assert stats.chisquare(seen, awaited).pvalue > 1e-3
    assert torch.equal(again.all_outcomes()[[0, 1, 4, -1]].sum(1), torch.tensor([0.0, 1.0, 1.0, 15.0]))


@pytest.mark.parametrize("h", FIELDS)
def test_the_dual_frame_gives_the_observables(h):
    data = tfim("test", n=5, h=h)
    outcomes, p, right = data.all_outcomes().numpy().astype(int), data.probabilities, exact(data)
    z, x = data.povm.values(PAULI["z"])[outcomes], data.povm.values(PAULI["x"])[outcomes]
    assert p @ (z[:, 0] * z[:, 3]) == pytest.approx(data.expectations["zz"][0, 3], abs=1e-10)
    assert p @ x.mean(1) == pytest.approx(right["magnetisation-x"], abs=1e-10)
    drawn = data.take(np.arange(50_000)).numpy().astype(int)
    for name, (value, error) in reconstructed(data, drawn).items():
        assert abs(value - right[name]) < 4 * error, name
    assert right["energy"] == pytest.approx(data.energy)


def test_longer_chains_are_measured_but_not_counted():
    data = tfim("validation", n=10)
    assert data.povm.sample(data.state, np.random.default_rng(0).random((50, 10))).shape == (50, 10)
    with pytest.raises(DataError, match=r"4\^10 outcomes") as error:
        _ = data.probabilities
    assert "at most 8" in error.value.hint


@pytest.mark.parametrize(
    "options, message",
    [
        ({"n": 17}, "too many to diagonalise"),
        ({"n": 0}, "option n"),
        ({"n": 2.5}, "option n"),
        ({"h": 0}, "option h"),
        ({"h": float("nan")}, "options.h: expected a finite number"),
        ({"h": "1"}, "option h"),
        ({"povm": "tetraedral"}, "no measure"),
        ({"boundary": "closed"}, "boundary"),
        ({"seed": 1.5}, "option seed"),
        ({"hh": 1}, "no option hh"),
    ],
)
def test_impossible_options_are_refused(options, message):
    with pytest.raises(DataError, match=message) as error:
        open_data("tfim", options=options)
    assert "\n" not in error.value.what and error.value.hint
    with pytest.raises(DataError, match="no split"):
        open_data("tfim:tset")


# --- metrics ------------------------------------------------------------------------------------------


@pytest.fixture
def entry(tmp_path):
    """A folder with an untrained network for a chain of `n` sites."""

    def write(n, **options):
        torch.manual_seed(0)
        model = RNN({"length": n, "hidden": 5})
        data = {"dataset": "tfim", "event_shape": [n], "range": [0, 3], "levels": 4, "options": {"n": n, **options}}
        return str(model.save(tmp_path / "net", name="net", architecture="rnn", license="none", data=data))

    return write


def test_fidelity_and_divergence_are_sums_over_all_outcomes(entry):
    folder = entry(3, h=2.0)
    model = dgmcore.load(folder)
    found = {m.name: m for m in dgmcore.evaluate(folder, ["classical-fidelity", "kl-exact"])}
    data = tfim("test", n=3, h=2.0)
    with torch.no_grad():
        q = model.log_prob(data.all_outcomes()).exp().double().numpy()
    p = data.probabilities
    assert q.sum() == pytest.approx(1, abs=1e-5)
    assert found["classical-fidelity"].value == pytest.approx(np.sqrt(p * q).sum(), abs=1e-6)
    assert found["kl-exact"].value == pytest.approx((p * np.log(p / q)).sum(), abs=1e-6)
    assert found["kl-exact"].n == 64 and found["kl-exact"].against == "tfim:test"
    assert open_for(model, "tfim:test").base.h == 2.0, "its data are those that it was trained on"


def test_observables_are_recorded_beside_the_exact_ones(entry):
    folder = entry(3)
    found = dgmcore.evaluate(folder, ["observables"], n=4000)
    names = ["energy", "magnetisation-x", "magnetisation-z", "correlation-zz-1", "correlation-zz-2"]
    assert [m.name for m in found] == names
    outcomes = dgmcore.sample(folder, 4000).numpy().astype(int)
    data = tfim("test", n=3)
    for record, (value, error) in zip(found, reconstructed(data, outcomes).values(), strict=True):
        assert (record.value, record.std) == (pytest.approx(value), pytest.approx(error))
        assert record.interval == pytest.approx((value - 1.96 * error, value + 1.96 * error))
        assert record.n == 4000 and record.unit.startswith("exact ")


def test_metrics_of_other_data_and_of_long_chains_are_refused(entry, tmp_path):
    with pytest.raises(DgmError, match=r"4\^9 outcomes"):
        dgmcore.evaluate(entry(9), ["classical-fidelity"])
    names = {m.name for m in dgmcore.evaluate(entry(9), n=100)}
    assert "energy" in names and "kl-exact" not in names, "by default, what fits"
    data = {"dataset": "other.npy", "event_shape": [3], "range": [0, 3], "levels": 4}
    RNN({"length": 3}).save(tmp_path / "other", name="other", architecture="rnn", license="none", data=data)
    np.save(tmp_path / "other.npy", np.zeros((10, 3), np.float32))
    with pytest.raises(UsageError, match="no measurements of a known state"):
        dgmcore.evaluate(str(tmp_path / "other"), ["kl-exact"], against=str(tmp_path / "other.npy"))
