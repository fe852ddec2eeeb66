"""Sample number i of a seed is the same bits in any batch, and noise is distributed as it says."""

from __future__ import annotations

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from dgmcore.noise import _COS, _LOG, _ROOT, _SIN, IndexedNoise, _box_muller, _product, _words
from dgmcore.sampling.stream_noise import StreamNoise, derive_seed

shapes = st.lists(st.integers(1, 4), max_size=3).map(tuple)
kinds = st.sampled_from(["normal", "uniform"])
versions = st.sampled_from([1, 2])
both = pytest.mark.parametrize("version", [1, 2])
GOLDEN_NORMAL = [[0.984559476, -1.21933055], [0.285405189, -0.294981509]]
GOLDEN_BITS = [[-1104001193, 1064233406, 1056035119], [1050566066, -1075772482, 1057111205]]
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
    version=versions,
)
def test_any_way_to_cut_the_range_gives_the_same_bits(seed, n, start, cuts, shape, kind, version):
    def draws(noise):
        return [getattr(noise, kind)(*shape), getattr(noise, kind)(*shape, name="a"), getattr(noise, kind)(*shape)]

    whole = draws(IndexedNoise(seed, n, start, version=version))
    edges = [0, *sorted(min(c, n) for c in cuts), n]
    parts = [draws(IndexedNoise(seed, b - a, start + a, version=version)) for a, b in itertools.pairwise(edges)]
    for i, values in enumerate(whole):
        assert torch.equal(values, torch.cat([part[i] for part in parts]))


@fast
@given(seed=st.integers(0, 1000), n=st.integers(1, 30), more=st.integers(0, 30), shape=shapes)
def test_fewer_samples_are_a_prefix(seed, n, more, shape):
    assert torch.equal(IndexedNoise(seed, n + more).normal(*shape)[:n], IndexedNoise(seed, n).normal(*shape))


@fast
@given(start=st.integers(0, 20), n=st.integers(1, 20), k=st.integers(1, 5), version=versions)
def test_children_repeats_and_parts_are_indexed_too(start, n, k, version):
    whole = IndexedNoise(3, 50, version=version)
    part = IndexedNoise(3, n, start, version=version)
    assert torch.equal(whole.child("a").normal(2)[start : start + n], part.child("a").normal(2))
    assert torch.equal(whole.narrow(start, n).normal(2), part.normal(2))
    assert not torch.equal(part.normal(2), IndexedNoise(3, n, start, version=3 - version).normal(2))
    repeated = IndexedNoise(3, 50, version=version).repeat(k).normal(2).view(50, k, 2)
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


@both
@pytest.mark.parametrize("start", [0, 10**12])
def test_normal_noise_is_normal(start, version):
    x = IndexedNoise(5, 100_000, start, version=version).normal(3).double().flatten()
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


@both
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.float16, torch.bfloat16])
def test_dtypes_round_one_stream(dtype, version):
    exact = IndexedNoise(2, 5000, dtype=torch.float64, version=version)
    other = IndexedNoise(2, 5000, dtype=dtype, version=version)
    assert torch.equal(exact.normal(4, name="z").to(dtype), other.normal(4, name="z"))
    u = other.uniform(4)
    assert u.dtype is dtype and float(u.max()) < 1
    assert float((u.double() - exact.uniform(4)).abs().max()) <= torch.finfo(dtype).eps


@both
@pytest.mark.parametrize("shape", [(3, 37, 41), (1, 70_001)])  # some in a block of work, and some blocks of one
def test_blocks_of_pictures_are_rounded_from_one_stream_too(shape, version):
    like = {"version": version, "n": 40 if len(shape) == 3 else 3}
    noise = {dtype: IndexedNoise(5, dtype=dtype, **like).normal(*shape) for dtype in (torch.float32, torch.float64)}
    assert torch.equal(noise[torch.float32], noise[torch.float64].float())
    assert torch.equal(noise[torch.float32][1:3], IndexedNoise(5, 2, 1, version=version).normal(*shape))


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


# --- version 2 --------------------------------------------------------------------------------------


def words_of(*pairs):
    """Two arrays of int32: of radii and of angles."""
    return [np.array(side, np.int64).astype(np.int32) for side in zip(*pairs, strict=True)]


def exact_normals(radius, angle):
    """The transform of Box and Muller in float64, of the uniform numbers that the words stand for in float32."""
    m, turn = ((word.astype(np.float32).astype(np.float64) * 2.0**-31) for word in (radius | 1, angle))
    r = np.sign(m) * np.sqrt(-2 * np.log(np.abs(m)))
    return r * np.cos(turn * np.pi / 2), r * np.sin(turn * np.pi / 2)


def test_version_2_is_box_muller_to_a_millionth():
    words = np.random.Philox(key=1).random_raw(1 << 19).view(np.int32).reshape(2, -1)
    near = words % 4096 + np.array([[0], [1 << 30]], np.int32)  # short radii's words at the end, long ones at zero
    for radius, angle in (words, near, near[::-1], (2**31 - 1 - near[0], near[1])):
        for found, wanted in zip(_box_muller(np, radius, angle), exact_normals(radius, angle), strict=True):
            assert found.dtype == np.float32 and np.abs(found - wanted).max() < 1e-6


def test_version_2_reaches_six_deviations_and_nothing_else_than_numbers():
    ends = [0, 1, -1, 2, 2**31 - 1, 2**31 - 64, -(2**31), -(2**31) + 1, 1 << 30]
    radius, angle = words_of(*itertools.product(ends, ends))
    x = np.stack(_box_muller(np, radius, angle))
    assert np.isfinite(x).all() and 6.5 < x.max() < 6.6 and -6.6 < x.min() < -6.5
    assert (x[:, radius == 2**31 - 1] == 0).all()  # u = 1


def test_version_2_has_its_bits_on_every_processor():
    """They were found in exact arithmetic, each operation rounded to nearest: see `rounded_normals`."""
    x = IndexedNoise(7, 2, 3, version=2).normal(3, name="z")
    assert x.view(torch.int32).tolist() == GOLDEN_BITS
    radius, angle = np.random.Philox(key=2).random_raw(200).view(np.int32).reshape(2, -1)
    assert [*zip(*map(list, _box_muller(np, radius, angle)), strict=True)] == [
        rounded_normals(int(a), int(b)) for a, b in zip(radius, angle, strict=True)
    ]


def rounded_normals(radius, angle):
    """Version 2 in rational numbers, rounded to float32 after each operation."""

    def polynomial(c, x):
        y = near(x * Fraction(c[-1]))
        for k in c[-2:0:-1]:
            y = near(near(y + Fraction(k)) * x)
        return near(y + Fraction(c[0]))

    m, exponent = near(abs(radius | 1)) / 2**31, 0
    while m < Fraction(float(np.int32(_ROOT).view(np.float32))):
        m, exponent = 2 * m, exponent - 1
    s = near(near(m - 1) / near(m + 1))
    square = near(near(polynomial(_LOG, near(s * s)) * s) + near(exponent * near(Fraction(-2 * math.log(2)))))
    r = near(Fraction(math.sqrt(square))) * (-1 if radius < 0 else 1)  # the root in float64, rounded, is float32's
    x = near(angle) / 2**31
    t = near(x * x)
    cosine = near(near(r * near(1 - t)) * polynomial(_COS, t))
    return float(cosine), float(near(near(x * r) * polynomial(_SIN, t)))


def near(x):
    """Returns the float32 that is nearest to a rational number, as one; of two the even one."""
    size = abs(Fraction(x))
    if not size:
        return size
    exponent = math.frexp(float(size))[1] - 1
    unit = Fraction(2) ** (exponent - 23 + (size >= Fraction(2) ** (exponent + 1)) - (size < Fraction(2) ** exponent))
    return round(Fraction(x) / unit) * unit


# --- on a GPU ---------------------------------------------------------------------------------------


@fast
@given(key=st.binary(min_size=16, max_size=16), start=st.integers(0, 2**70), n=st.integers(0, 20))
def test_the_words_of_a_gpu_are_numpys(key, start, n):
    words = _words(torch.device("cpu"), key, start, n)
    expected = np.random.Philox(key=int.from_bytes(key, "little"), counter=start).random_raw(4 * n)
    assert np.array_equal(words.numpy().view(np.uint64).ravel(), expected)


@both
@pytest.mark.parametrize("kind", ["normal", "uniform"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_what_is_drawn_on_a_gpu_is_the_cpus_to_a_millionth(monkeypatch, kind, dtype, version):
    """The same way runs on a tensor of any device: here on the CPU's."""

    def draws(shape, n=5):
        noise = IndexedNoise(7, n, 10**12, dtype=dtype, version=version)
        return [getattr(noise, kind)(*shape), getattr(noise.child("a").repeat(2), kind)(*shape, name="b")]

    shapes = [(), (3,), (0,), (3, 17, 9)]
    usual = [draws(shape) for shape in shapes] + [draws((2,), 0)]
    monkeypatch.setattr("dgmcore.noise.DRAWN_THERE", {"cpu"})
    monkeypatch.setattr("numpy.random.Philox", None)
    for ours, theirs in zip(usual, [draws(shape) for shape in shapes] + [draws((2,), 0)], strict=True):
        for a, b in zip(ours, theirs, strict=True):
            assert a.shape == b.shape and a.dtype is b.dtype is dtype
            gap = float((a.double() - b.double()).abs().max()) if a.numel() else 0.0
            assert gap <= (1e-6 if kind == "normal" and dtype is not torch.bfloat16 else torch.finfo(dtype).eps)


def test_the_noise_of_a_gpu_touches_no_memory_of_the_cpu(monkeypatch):
    monkeypatch.setattr("dgmcore.noise.DRAWN_THERE", {"meta"})
    for version in (1, 2):
        noise = IndexedNoise(0, 4, device="meta", version=version)
        assert noise.normal(3, 5).is_meta and noise.uniform(2).is_meta and noise.integers(7).is_meta


# ----------------------------------------------------------------------------------------------------


def test_the_global_random_state_is_not_touched():
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for noise in (IndexedNoise(0, 3), IndexedNoise(0, 3, version=2), StreamNoise(0, 3)):
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
    assert IndexedNoise(0, 3).normal(0).shape == IndexedNoise(0, 3, version=2).normal(0).shape == (3, 0)
    assert IndexedNoise(0, 3).uniform().shape == (3,)
