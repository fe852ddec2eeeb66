"""Sample number i of a seed is the same bits in any batch, and noise is distributed as it says."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmcore.noise import IndexedNoise, _product
from dgmcore.sampling.stream_noise import StreamNoise, derive_seed

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
kinds = st.sampled_from(["normal", "uniform"])
GOLDEN_NORMAL = [[0.984559476, -1.21933055], [0.285405189, -0.294981509]]
GOLDEN_UNIFORM = [[0.55122, 0.520930707], [0.961516082, 0.313195348]]

fast = settings(max_examples=60, deadline=None)


@fast
@given(
    seed=st.integers(-(2**70), 2**70),
    n=st.integers(1, 40),
    start=st.integers(0, 2**40),
    cuts=st.lists(st.integers(0, 40), max_size=4),
    shape=shapes,
    kind=kinds,
)
def test_any_way_to_cut_the_range_gives_the_same_bits(seed, n, start, cuts, shape, kind):
    def draws(noise):
        return [getattr(noise, kind)(*shape), getattr(noise, kind)(*shape, name="a"), getattr(noise, kind)(*shape)]

    whole = draws(IndexedNoise(seed, n, start))
    edges = [0, *sorted(min(c, n) for c in cuts), n]
    parts = [draws(IndexedNoise(seed, b - a, start + a)) for a, b in itertools.pairwise(edges)]
    for i, values in enumerate(whole):
        assert torch.equal(values, torch.cat([part[i] for part in parts]))


@fast
@given(seed=st.integers(0, 1000), n=st.integers(1, 30), more=st.integers(0, 30), shape=shapes)
def test_fewer_samples_are_a_prefix(seed, n, more, shape):
    assert torch.equal(IndexedNoise(seed, n + more).normal(*shape)[:n], IndexedNoise(seed, n).normal(*shape))


@fast
@given(start=st.integers(0, 20), n=st.integers(1, 20), k=st.integers(1, 5))
def test_children_repeats_and_parts_are_indexed_too(start, n, k):
    whole = IndexedNoise(3, 50)
    part = IndexedNoise(3, n, start)
    assert torch.equal(whole.child("a").normal(2)[start : start + n], part.child("a").normal(2))
    assert torch.equal(whole.narrow(start, n).normal(2), part.normal(2))
    repeated = IndexedNoise(3, 50).repeat(k).normal(2).view(50, k, 2)
    assert torch.equal(repeated[start : start + n], part.repeat(k).normal(2).view(n, k, 2))
    nested = {"z": (3,), "deep": {"x": (2, 2), "y": ()}}
    a, b = IndexedNoise(3, 50).named(nested), IndexedNoise(3, n, start).named(nested)
    assert torch.equal(a["deep"]["x"][start : start + n], b["deep"]["x"])
    assert torch.equal(a["deep"]["y"][start : start + n], b["deep"]["y"])


def test_named_draws_do_not_depend_on_the_calls_before():
    a, b = IndexedNoise(1, 4), IndexedNoise(1, 4)
    a.normal(7)
    a.child("x").normal(3)
    assert torch.equal(a.normal(2, name="z"), b.normal(2, name="z"))
    assert torch.equal(a.normal(2), (b.normal(7), b.normal(2))[1])


def test_draws_of_other_names_seeds_kinds_and_scopes_are_independent():
    n = 20_000
    draws = [
        IndexedNoise(0, n).normal(),
        IndexedNoise(1, n).normal(),
        IndexedNoise(-1, n).normal(),
        IndexedNoise(0, n).normal(name="a"),
        IndexedNoise(0, n).child("a").normal(),
        IndexedNoise(0, n).child("a").child("b").normal(),
        IndexedNoise(0, 1).repeat(n).normal(),
        IndexedNoise(0, n, start=1).normal(),
        IndexedNoise(0, n).uniform(),
        IndexedNoise(0, n).normal(2)[:, 1],
    ]
    correlation = torch.corrcoef(torch.stack(draws)) - torch.eye(len(draws))
    assert correlation.abs().max() < 5 / math.sqrt(n)


@pytest.mark.parametrize("start", [0, 10**12])
def test_normal_noise_is_normal(start):
    x = IndexedNoise(5, 100_000, start).normal(3).double().flatten()
    for power, moment in enumerate([0.0, 1.0, 0.0, 3.0, 0.0, 15.0], 1):
        error = math.sqrt(math.prod(range(2 * power - 1, 0, -2)) / len(x))
        assert abs(float((x**power).mean()) - moment) < 5 * error, power
    ordered = x.sort().values
    expected = torch.special.ndtr(ordered)
    steps = torch.arange(1, len(x) + 1) / len(x)
    assert float((expected - steps).abs().max()) < 1.95 / math.sqrt(len(x))  # Kolmogorov-Smirnov, p = 0.001
    assert 4.2 < float(x.abs().max()) < 6.5


def test_uniform_noise_is_uniform_and_below_one():
    noise = IndexedNoise(5, 200_000)
    u = noise.uniform(2).double()
    assert 0 <= float(u.min()) < 1e-4
    assert 1 - 1e-4 < float(u.max()) < 1
    assert abs(float(u.mean()) - 0.5) < 5 * math.sqrt(1 / 12 / u.numel())
    counts = torch.bincount(noise.integers(10, 2).flatten(), minlength=10).double()
    assert float(((counts - 40_000) ** 2 / 40_000).sum()) < 28  # chi-squared with 9 degrees, p = 0.001


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_round_one_stream(dtype):
    exact = IndexedNoise(2, 5000, dtype=torch.float64)
    other = IndexedNoise(2, 5000, dtype=dtype)
    assert torch.equal(exact.normal(4, name="z").to(dtype), other.normal(4, name="z"))
    u = other.uniform(4)
    assert u.dtype is dtype and float(u.max()) < 1
    assert float((u.double() - exact.uniform(4)).abs().max()) <= torch.finfo(dtype).eps


def test_blocks_of_pictures_are_rounded_from_one_stream_too():
    noise = {dtype: IndexedNoise(5, 40, dtype=dtype).normal(3, 37, 41) for dtype in (torch.float32, torch.float64)}
    assert torch.equal(noise[torch.float32], noise[torch.float64].float())
    assert torch.equal(noise[torch.float32][33:36], IndexedNoise(5, 3, 33).normal(3, 37, 41))


@pytest.mark.parametrize("off", [-1e-15, 0, 1e-15])
@pytest.mark.parametrize("wave", ["cos", "sin"])
def test_a_wave_of_other_last_bits_gives_the_same_float32(monkeypatch, wave, off):
    """Halves between two numbers of float32, and numbers near to one, go to where numpy's wave says."""
    theirs, ours = getattr(torch, wave), getattr(np, wave)
    monkeypatch.setattr(torch, wave, lambda x: theirs(x) * (1 + off))
    angle = np.full((4, 1000), {"cos": 0.0, "sin": math.pi / 2}[wave])
    halves = 1 + 2.0**-24 + 2.0**-23 * np.arange(1000)
    radius = np.stack([halves, halves * (1 + 2.0**-52), halves * (1 - 2.0**-52), halves + 2.0**-30])
    out = np.empty(radius.shape, np.float32)
    _product(radius, angle, ours, out)
    assert np.array_equal(out, (radius * ours(angle)).astype(np.float32))


def test_the_global_random_state_is_not_touched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for noise in (IndexedNoise(0, 3), StreamNoise(0, 3)):
        noise.normal(2), noise.uniform(2), noise.integers(5), noise.child("a").normal(1)
    assert torch.equal(before, torch.get_rng_state())


def test_the_bits_stay_the_same_from_release_to_release():
    x = IndexedNoise(7, 2, 3).normal(2, name="z").double()
    u = IndexedNoise(7, 2, 3).uniform(2).double()
    golden_x = torch.tensor(GOLDEN_NORMAL, dtype=torch.float64)
    golden_u = torch.tensor(GOLDEN_UNIFORM, dtype=torch.float64)
    torch.testing.assert_close(x, golden_x, rtol=1e-6, atol=0)
    torch.testing.assert_close(u, golden_u, rtol=1e-6, atol=0)


def test_streams_go_on_with_every_draw_and_repeat_by_scope():
    one, two = StreamNoise(0, 4, scope="step 5"), StreamNoise(0, 4, scope="step 5")
    assert torch.equal(one.normal(3), two.normal(3))
    assert not torch.equal(one.normal(3), StreamNoise(0, 4, scope="step 6").normal(3))
    assert derive_seed(1, "a") != derive_seed(1, "b") and 0 <= derive_seed(1, "a") < 2**63


def test_sizes_of_zero():
    assert IndexedNoise(0, 0).normal(3).shape == (0, 3)
    assert IndexedNoise(0, 3).normal(0).shape == (3, 0)
    assert IndexedNoise(0, 3).uniform().shape == (3,)
