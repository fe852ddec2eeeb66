"""Scores are those of the formula, and do not depend on how the work is cut."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_sampling import entry_of
from toy_models import Bound, Judge, Levels, Pixels, Ridge, Walk

from dgmcore.errors import DataError, DgmError, NotFiniteError, OptionError, UsageError
from dgmcore.sampling import draw as sampling
from dgmcore.sampling import scores as scoring


def pixels(scale, **data):
    model = Pixels({"scale": scale})
    model.entry = entry_of(model, **{"range": (-1.0, 1.0), "levels": 256, **data})
    return model


def images(n):
    """Images of 8-bit levels in [-1, 1]."""
    return torch.from_numpy(np.random.default_rng(0).integers(0, 256, (n, 1, 8, 8))).float() / 127.5 - 1


def test_exact_densities_are_the_models_own():
    model = Ridge()
    x = sampling.sample(model, 1000)
    scores = scoring.score(model, x)
    torch.testing.assert_close(scores.values, model.log_prob(x).double().detach(), rtol=0, atol=1e-6)
    assert (scores.kind, scores.unit, scores.n, scores.bits_per_dim, scores.dequantized) == (
        "exact",
        "nats",
        1000,
        None,
        False,
    )
    entropy = 1 + math.log(2 * math.pi) + math.log(0.4)
    assert abs(scores.mean + entropy) < 4 * scores.std / math.sqrt(1000)
    assert scores.std == pytest.approx(float(scores.values.std(correction=0)))


def test_bits_per_dimension_of_a_uniform_density_are_those_of_the_levels():
    """A density that is flat over the levels' cells gives each of 256 levels 1 / 256: eight bits."""
    model = pixels(1.0)
    half = 1 + 1 / 255  # the cells of the outer levels reach beyond the range by half a level
    model.log_prob = lambda x, **options: torch.where(
        (x.abs() <= half + 1e-6).flatten(1).all(1), -64 * math.log(2 * half), -math.inf
    )
    scores = scoring.score(model, images(50))
    assert scores.bits_per_dim == pytest.approx(8.0, abs=1e-6) and scores.dequantized


def test_bits_per_dimension_bound_the_probability_of_the_levels_closely():
    """Each cell's probability under a Gaussian is known; for a narrow cell the bound of dequantisation is tight."""
    model = pixels(0.3)
    x = images(400)
    edge = 1 / 255
    upper, lower = ((x + side * edge - model.mean) / 0.3 for side in (1, -1))
    inside = torch.special.ndtr(upper.double()) - torch.special.ndtr(lower.double())
    keep = (inside > 1e-30).flatten(1).all(1)
    exact = -float(inside[keep].log2().mean().detach())
    got = scoring.score(model, x[keep]).bits_per_dim
    assert abs(got - exact) < 0.01


def test_levels_need_no_dequantisation_and_neither_measure_has_no_bits():
    model = Levels()
    model.entry = entry_of(model, range=(-1.0, 1.0), levels=256)
    scores = scoring.score(model, images(5))
    assert scores.bits_per_dim == pytest.approx(8.0) and not scores.dequantized
    model.base_measure = None
    assert scoring.score(model, images(5)).bits_per_dim is None
    assert scoring.score(pixels(0.3, levels=None), images(5)).bits_per_dim is None


@settings(max_examples=20, deadline=None)
@given(size=st.integers(1, 40), seed=st.integers(0, 3))
def test_values_do_not_depend_on_the_batch_size(size, seed):
    for model, x in ((pixels(0.3), images(30)), (Bound(), torch.randn(30, 2, generator=torch.Generator()))):
        whole = scoring.score(model, x, seed=seed).values
        parts = scoring.score(model, x, seed=seed, batch_size=size).values
        torch.testing.assert_close(parts, whole, rtol=1e-6, atol=1e-5)
    other = scoring.score(pixels(0.3), images(30), seed=seed + 1).values
    assert not torch.equal(other, scoring.score(pixels(0.3), images(30), seed=seed).values)


def test_bounds_take_their_options():
    x = sampling.sample(Ridge(), 500)
    exact = scoring.score(Ridge(), x).mean
    loose, tight = scoring.score(Bound(), x), scoring.score(Bound(), x, k=1000)
    assert loose.kind == tight.kind == "lower_bound"
    assert loose.mean < tight.mean < exact and exact - tight.mean < 0.01
    with pytest.raises(OptionError, match="unknown key m"):
        scoring.score(Bound(), x, m=3)


def test_critics_score_without_a_unit_of_information():
    x = torch.tensor([[1.0, 0.0], [-3.0, 2.0]])
    scores = scoring.score(Judge(), x)
    assert scores.values.tolist() == [2.0, -6.0]
    assert (scores.kind, scores.unit, scores.bits_per_dim) == ("critic", "score", None)
    with pytest.raises(UsageError, match="neither a density nor a critic"):
        scoring.score(Walk(), x)


def test_data_are_tensors_arrays_or_lists():
    model = Ridge()
    x = sampling.sample(model, 20)
    expected = scoring.score(model, x).values
    for data in (x.numpy(), x.double().numpy(), x.tolist(), tuple(x.numpy())):
        torch.testing.assert_close(scoring.score(model, data).values, expected)
    model = pixels(0.3)
    levels = ((images(6) + 1) * 127.5).round().numpy().astype(np.uint8)
    torch.testing.assert_close(
        scoring.score(model, levels).values, scoring.score(model, images(6)).values, rtol=1e-5, atol=1e-3
    )
    for wrong in (np.zeros((3, 5)), [["a", "b"]], [[1.0], [2.0, 3.0]], np.full((3, 2), np.nan), []):
        with pytest.raises(DgmError):
            scoring.score(Ridge(), wrong)
    for wrong in ({"batch_size": -1}, {"batch_size": 0}, {"seed": -1}, {"seed": 1.5}):
        with pytest.raises(UsageError, match="can't be"):
            scoring.score(Ridge(), x, **wrong)


def test_what_is_not_finite_is_no_score():
    x = torch.zeros(5, 2)
    x[3:] = 1e20  # whose square is none of float32's
    with pytest.raises(NotFiniteError, match="2 of 5 values of Ridge's nats from datum 3 on are not finite"):
        scoring.score(Ridge(), x)
    assert scoring.judgements(Ridge(), x).values[3:].tolist() == [-math.inf] * 2

    class Overflowing(Bound):
        def log_prob(self, x, *, noise=None, **options):
            return super().log_prob(x, noise=noise, **options).exp().log() - x.square().sum(1) + x.square().sum(1)

    values = scoring.judgements(Overflowing(), x).values  # infinity less infinity
    assert values[:3].isfinite().all() and values[3:].tolist() == [-math.inf] * 2
    with pytest.raises(NotFiniteError, match="2 of 5"):
        scoring.score(Overflowing(), x)
    model = Bound()
    for value in (math.inf, -math.inf):
        model.log_prob = lambda x, *, noise, value=value: torch.full((len(x),), value)
        assert scoring.judgements(model, x).values.tolist() == [value] * 5


@pytest.mark.parametrize(
    "name,array,message",
    [
        ("shape", np.zeros((3, 1, 4, 4), np.float32), "shape"),
        ("nan", np.full((3, 1, 8, 8), np.nan, np.float32), "not finite"),
        ("range", np.full((3, 1, 8, 8), 200.0, np.float32), r"\[200, 200\]|outside of"),
        ("empty", np.zeros((0, 1, 8, 8), np.float32), "empty"),
        ("text", np.array([["a"]]), "not numbers"),
    ],
)
def test_data_that_do_not_fit_are_refused_by_name(tmp_path, name, array, message):
    path = tmp_path / f"{name}.npy"
    np.save(path, array)
    with pytest.raises(DataError, match=message):
        scoring.score(pixels(0.3), path)
    with pytest.raises(DataError, match="don't fit"):
        scoring.score(Ridge(), torch.zeros(3, 5))


@pytest.mark.parametrize("dtype", [np.uint8, np.float32])
def test_files_of_bytes_and_of_numbers_are_the_same_data(tmp_path, dtype):
    x = images(10)
    levels = ((x + 1) * 127.5).round().numpy().astype(np.uint8)
    np.savez(tmp_path / "x.npz", samples=levels if dtype is np.uint8 else x.numpy(), other=np.zeros(3))
    model = pixels(0.3)
    expected = scoring.score(model, x)
    got = scoring.score(model, tmp_path / "x.npz")
    torch.testing.assert_close(got.values, expected.values, rtol=1e-5, atol=1e-3)
    assert got.bits_per_dim == pytest.approx(expected.bits_per_dim, rel=1e-5)


def test_samples_written_to_a_file_score_as_they_are(tmp_path):
    model = pixels(0.3)
    sampling.sample_to(tmp_path / "x.npz", model, 300)
    bits = scoring.score(model, tmp_path / "x.npz").bits_per_dim
    # samples of a density with standard deviation 0.3 = 38 levels have about log2(38 sqrt(2 pi e)) bits
    assert abs(bits - math.log2(0.3 * 127.5 * math.sqrt(2 * math.pi * math.e))) < 0.1
