"""Samples of whatever origin are measured, against independent implementations, with intervals that hold."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from dgm_eval import distances, intervals
from dgm_eval.metrics.ood_auroc import auroc_error
from dgm_eval.two_samples.curve import _with_errors, clusters, curve, f_scores
from dgm_eval.two_samples.kernels import directions, median_distance
from PIL import Image

import dgmcore


def normal(n: int, d: int = 3, seed: int = 0, shift: float = 0.0, scale: float = 1.0) -> torch.Tensor:
    noise = torch.randn(n, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return shift + scale * noise


X, Y = normal(120, seed=1, shift=0.5, scale=1.2), normal(150, seed=2)


# --- against independent implementations -------------------------------------------------------------


def test_density_and_coverage_are_prdcs():
    prdc = pytest.importorskip("prdc")
    theirs = prdc.compute_prdc(real_features=Y.numpy(), fake_features=X.numpy(), nearest_k=5)
    assert distances.density_coverage(X, Y, 5) == pytest.approx((theirs["density"], theirs["coverage"]))
    assert distances.precision_recall(X, Y, 5) == pytest.approx((theirs["precision"], theirs["recall"]))


def test_the_sliced_wasserstein_distance_is_pots():
    import ot

    along = directions(3, 40, seed=5)
    theirs = ot.sliced_wasserstein_distance(X.numpy(), Y.numpy(), projections=along.numpy(), p=2)
    assert distances.sliced_wasserstein(X @ along, Y @ along) == pytest.approx(float(theirs))
    line = torch.ones(1, 1, dtype=torch.float64)
    exact = ot.wasserstein_1d(X[:, 0].numpy(), Y[:, 0].numpy(), p=2) ** 0.5
    assert distances.sliced_wasserstein(X[:, :1] @ line, Y[:, :1] @ line) == pytest.approx(float(exact))


def test_the_mmd_is_that_of_sklearns_kernels():
    from sklearn.metrics.pairwise import rbf_kernel

    width = median_distance(Y)
    from scipy.spatial.distance import pdist

    assert width == pytest.approx(np.median(pdist(Y.numpy())), rel=1e-3)
    k = [rbf_kernel(a.numpy(), b.numpy(), gamma=1 / (2 * width**2)) for a, b in ((X, X), (Y, Y), (X, Y))]
    n, m = len(X), len(Y)
    expected = (k[0].sum() - n) / (n * (n - 1)) + (k[1].sum() - m) / (m * (m - 1)) - 2 * k[2].mean()
    value, error = distances.mmd(X, Y)
    assert value == pytest.approx(expected)
    without = [distances.mmd(torch.cat([X[:i], X[i + 1 :]]), Y, width)[0] for i in range(n)]
    own = (n - 1) / n * np.square(without - np.mean(without)).sum()
    assert own < error**2 < 4 * own, "each point left out in turn, and those of the other set"


def test_the_classifier_is_sklearns():
    from sklearn.neighbors import KNeighborsClassifier

    n = 100
    value, tested = distances.neighbour_test(X[:n], Y[:n], seed=3)
    generator = torch.Generator().manual_seed(3)
    a, b = (p[torch.randperm(n, generator=generator)].numpy() for p in (X[:n], Y[:n]))
    points, labels = np.concatenate([a[:50], b[:50]]), np.arange(2).repeat(50)
    theirs = KNeighborsClassifier(9).fit(points, labels).score(np.concatenate([a[50:], b[50:]]), labels)
    assert (value, tested) == (pytest.approx(theirs), 100)
    assert distances.neighbour_test(X, X + 100)[0] == 1


def test_the_curve_of_precision_and_recall():
    # theorem 1's extremes: equal distributions, disjoint ones, and one that has half of the other's modes
    p, half = torch.full((4,), 0.25).double(), torch.tensor([0.5, 0.5, 0, 0]).double()
    assert f_scores(*curve(p, p)) == pytest.approx((1, 1), abs=1e-3)
    assert f_scores(*curve(torch.tensor([1.0, 0]).double(), torch.tensor([0, 1.0]).double())) == pytest.approx((0, 0))
    precision, recall = f_scores(*curve(p, half))
    assert precision > 0.98 and recall == pytest.approx(0.5, abs=0.02)
    # an own computation of the curve at its corners, for histograms that have no symmetry
    q, r = np.array([0.1, 0.2, 0.7]), np.array([0.3, 0.3, 0.4])
    best = max(
        (1 + 1 / 64) * a * b / (a / 64 + b)
        for slope in np.tan(np.linspace(1e-10, math.pi / 2 - 1e-10, 1001))
        for a in [np.minimum(slope * q, r).sum()]
        for b in [a / slope]
    )
    assert f_scores(*curve(torch.tensor(q), torch.tensor(r)))[0] == pytest.approx(best, rel=1e-6)


def test_the_clusters_are_sklearns_where_they_are_clear():
    from sklearn.cluster import KMeans

    centres = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0)).double() * 20
    points = torch.cat([centres + normal(9, 2, seed=i) for i in range(40)])
    ours, theirs = clusters(points, 9, 0), KMeans(9, n_init=5, random_state=0).fit(points.numpy()).labels_
    assert len({*zip(ours.tolist(), theirs.tolist(), strict=True)}) == 9
    both = distances.precision_recall_of_distributions(points[:180], points[180:], k=9, runs=3)
    assert both == pytest.approx((1, 1), abs=0.01)


def test_the_distance_of_infinitely_many_points():
    truth = 3 * 0.5**2 + 3 * 0.2**2
    pairs = [(normal(400, seed=i, shift=0.5, scale=1.2), normal(400, seed=1000 + i)) for i in range(12)]
    plain, without_bias = (
        np.array([f(x, y) for x, y in pairs]) for f in (distances.frechet, lambda x, y: distances.extrapolated(x, y))
    )
    assert abs(without_bias.mean() - truth) < 3 * without_bias.std() / 12**0.5
    few = np.array([distances.frechet(x[:40], y[:40]) for x, y in pairs])
    assert few.mean() > plain.mean() > truth


def test_copies_are_told_from_samples():
    train, test = normal(300, 2, seed=5), normal(200, 2, seed=6)
    fair = distances.nearer_to_first(normal(300, 2, seed=7), train, test).mean()
    copied = distances.nearer_to_first(train[:150] + 1e-3, train, test).mean()
    assert abs(fair - 0.5) < 0.1 and copied > 0.95
    assert distances.nearer_to_first(test, test, test).unique().tolist() == [0.5]


# --- intervals ----------------------------------------------------------------------------------------


def covered(measure, truth, runs=150):
    inside = 0
    for seed in range(runs):
        value, error, groups = measure(normal(120, seed=2 * seed, shift=0.4, scale=1.2), normal(160, seed=2 * seed + 1))
        low, high = intervals.of_squared(value, error, groups)
        inside += low <= truth <= high
    return inside / runs


def test_intervals_cover_what_is_known():
    truth = 3 * 0.4**2 + 3 * 0.2**2
    share = covered(
        lambda x, y: (distances.extrapolated(x, y), intervals.grouped(distances.extrapolated, x, y, most=None)[0], 20),
        truth,
        runs=40,
    )
    assert share >= 0.9
    # the squared MMD of two Gaussians in closed form, kernel of width 1.5
    w, s = 1.5**2, 1.2**2

    def kernel(variance, gap=0.0):
        return (w / (w + variance)) ** 1.5 * math.exp(-gap / (2 * (w + variance)))

    squared = kernel(2 * s) + kernel(2) - 2 * kernel(1 + s, 3 * 0.4**2)
    share = covered(lambda x, y: (*distances.mmd(x, y, 1.5), None), squared)
    assert share >= 0.9


def test_squared_distances_have_more_room_above():
    """Where they are small by chance their error is too: what is around them alone would hold 89 of 100 or fewer."""
    found = [distances_between(*(normal(100, seed=2 * i + j, shift=0.4 * j) for j in (0, 1))) for i in range(150)]
    for which in (0, 1):
        values, errors = np.array([pair[which] for pair in found]).T
        bounds = [intervals.of_squared(*pair) for pair in zip(values, errors, strict=True)]
        assert np.mean([low <= values.mean() <= high for low, high in bounds]) >= 0.93
    assert intervals.of_squared(4.0, 0.0) == (4.0, 4.0) and intervals.of_squared(0.0, 0.0) == (0.0, 0.0)
    low, high = intervals.of_squared(100.0, 0.1)
    assert high - 100 == pytest.approx(100 - low, rel=1e-2), "of large sets it is the same on both sides"


def distances_between(x, y):
    """The kernel and the energy distance, each with its error."""
    kernels = lambda a, b: (a @ b.T / 3 + 1) ** 3, lambda a, b: -(torch.cdist(a, b).square() + 0.1).sqrt()
    return [intervals.kernel_statistic(kernel, x, y) for kernel in kernels]


def test_intervals_of_precision_and_recall_of_distributions_cover_their_mean():
    found = []
    for seed in range(60):
        x, y = normal(100, seed=2 * seed, shift=0.4), normal(100, seed=2 * seed + 1)
        labels = torch.stack([clusters(torch.cat([x, y]).double(), 8, run) for run in range(3)], 1)
        found.append(_with_errors(*labels.chunk(2), 8))
    for which in (0, 1):
        truth = np.mean([values[which] for values, _ in found])
        bounds = [intervals.within_bounds(values[which], errors[which], 20, 100) for values, errors in found]
        assert np.mean([low <= truth <= high for low, high in bounds]) >= 0.9


def test_intervals_of_shares_and_of_means():
    generator = np.random.default_rng(0)
    shares = generator.binomial(60, 0.93, size=2000) / 60
    inside = [low <= 0.93 <= high for low, high in (intervals.of_share(s, 60) for s in shares)]
    assert 0.93 <= np.mean(inside) <= 0.975
    means = [intervals.of_values(torch.from_numpy(generator.exponential(size=200))) for _ in range(1000)]
    assert 0.92 <= np.mean([low <= 1 <= high for low, high in means]) <= 0.97


def test_the_error_of_an_area_is_that_of_repeated_draws():
    pairs = [(normal(80, 1, seed=i, shift=1).ravel(), normal(120, 1, seed=500 + i).ravel()) for i in range(200)]
    spread = np.std([distances.auroc(a, b) for a, b in pairs])
    assert np.mean([auroc_error(a, b) for a, b in pairs]) == pytest.approx(spread, rel=0.15)


# --- the command --------------------------------------------------------------------------------------


POINTS = ["density", "coverage", "c2st", "mmd", "sliced-wasserstein", "prd-precision", "prd-recall", "memorisation"]


def test_points_in_a_table_are_measured(dgm):
    np.savetxt("good.csv", normal(300, 2, seed=1).numpy(), delimiter=",")
    np.savetxt("bad.csv", normal(300, 2, seed=2, shift=0.8).numpy(), delimiter=",")
    np.savez("real.npz", x_train=normal(300, 2, seed=3).float(), x_test=normal(300, 2, seed=4).float())
    metrics = [word for name in POINTS for word in ("--metric", name)]
    code, out, err = dgm("eval", "good.csv", "--against", "real.npz:test", *metrics, "--json")
    assert code == 0, err
    rows = {row["name"]: row for row in json.loads(out)}
    assert set(rows) == set(POINTS)
    for row in rows.values():
        low, high = row["interval"]
        assert low <= row["value"] <= high and row["n"] == row["n_real"] == 300
        assert row["command"].startswith("dgm eval good.csv --metric")
    assert rows["coverage"]["value"] > 0.9 and abs(rows["c2st"]["value"] - 0.5) < 0.1
    code, out, err = dgm(
        "eval", "bad.csv", "--against", "real.npz:test", *metrics[:10], "--compare", "good.csv", "--json"
    )
    assert code == 0, err
    verdicts = {row["name"]: row["verdict"] for row in json.loads(out)}
    assert verdicts["mmd"] == verdicts["sliced-wasserstein"] == verdicts["c2st"] == "worse"
    code, out, _ = dgm("eval", "good.csv", "--against", "real.npz:test", "--metric", "mmd", "--compare", "bad.csv")
    assert code == 0 and "better" in out and " to " in out
    np.savetxt("same.csv", normal(300, 2, seed=9).numpy(), delimiter=",")
    code, out, _ = dgm("eval", "same.csv", "--against", "real.npz:test", "--metric", "mmd", "--compare", "good.csv")
    assert code == 0 and "cannot be told" in out


def test_what_a_model_wrote_is_measured_as_the_model(dgm):
    dgm("sample", "ridge", "-n", 200, "--out", "s.npz")
    given = json.loads(dgm("eval", "./s.npz", "--against", "moons:test", "--metric", "energy-distance", "--json")[1])
    drawn = json.loads(dgm("eval", "ridge", "--n", 200, "--metric", "energy-distance", "--json")[1])
    assert given[0]["value"] > 0 and given[0]["n"] == drawn[0]["n"] == 200
    x = dgmcore.sample("ridge", 200)
    torch.testing.assert_close(torch.from_numpy(np.load("s.npz")["samples"]), x)


def test_pictures_in_a_folder_and_a_network_in_a_file(dgm, toy_entries):
    class Net(torch.nn.Module):
        def forward(self, x):
            return torch.nn.functional.avg_pool2d(x, 4).flatten(1)

    torch.jit.script(Net()).save("net.pt")
    pixels = np.random.default_rng(0).integers(0, 255, (60, 8, 8), dtype=np.uint8)
    np.savez("real.npz", x=pixels)
    (toy_entries / "shots").mkdir()
    for i in range(40):
        Image.fromarray(pixels[i]).save(f"shots/{i}.png")
    measure = ["eval", "./shots", "--against", "./real.npz", "--features", "net.pt"]
    code, out, err = dgm(*measure, "--metric", "fid", "--metric", "precision", "--json")
    assert code == 0 and "is a program" in err, err
    fid, precision = json.loads(out)
    assert fid["features"] == "net.pt" and len(fid["features_sha256"]) == 64 and fid["n"] == 40
    a, b = (torch.from_numpy(pixels[:k, None] / 255.0) for k in (40, 60))
    expected = distances.frechet(Net()(a), Net()(b))
    assert fid["value"] == pytest.approx(expected, rel=1e-4) and precision["value"] == 1
    for words, args in (
        ("is no classifier", ["--metric", "inception-score"]),
        ("no entry to record in", ["--metric", "fid", "--record"]),
        ("take no options", ["--metric", "fid", "--set", "steps=3"]),
        ("there are 40 samples", ["--metric", "fid", "--n", "50"]),
    ):
        code, _, err = dgm(*measure, *args)
        assert code and words in err, err
    assert "compared with" in dgm("eval", "./shots/", "--metric", "fid")[2]
    (toy_entries / "bad.pt").write_bytes(b"no network")
    code, _, err = dgm(*measure[:-1], "bad.pt", "--metric", "fid")
    assert code == 1 and "can't be read as a network" in err
    np.savez("unit.npz", samples=(pixels[:, None] / 255).astype(np.float32))
    code, _, err = dgm("eval", "./unit.npz", "--against", "./real.npz", "--features", "net.pt", "--metric", "fid")
    assert code == 1 and "are they in [0, 1]?" in err


def test_statistics_stand_for_the_data(dgm, toy_entries):
    from dgm_eval.models.classifier import Classifier

    for seed, name in ((0, "./tiny-net"), (1, "./other-net")):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            network = Classifier({"event_shape": [1, 8, 8], "channels": [6], "kernel": 3, "width": 8, "dropout": 0.0})
        data = {"dataset": "squares", "event_shape": [1, 8, 8], "range": [-1, 1]}
        network.save(name, name=name[2:], license="MIT", data=data, architecture="classifier")
    pixels = np.random.default_rng(0).integers(0, 255, (300, 8, 8), dtype=np.uint8)
    np.savez("real.npz", x=pixels[:200])
    np.savez("mine.npz", x=pixels[100:])
    code, out, err = dgm("stats", "./real.npz", "--features", "./tiny-net", "--out", "./kept", "--n", 200)
    assert (code, out) == (0, "kept\n"), err
    names = ["--metric", "fid", "--metric", "kid", "--metric", "density", "--json"]
    code, out, err = dgm("eval", "./mine.npz", "--against", "stats:./kept", *names)
    assert code == 0, err
    direct = json.loads(dgm("eval", "./mine.npz", "--against", "./real.npz", "--features", "./tiny-net", *names)[1])
    for row, same in zip(json.loads(out), direct, strict=True):
        assert row["value"] == pytest.approx(same["value"], rel=1e-3) and row["against"] == "stats:./kept"
        assert row["features_sha256"] == same["features_sha256"]
    for words, args in (
        ("features only", ["--metric", "energy-distance"]),
        ("of the features of ./tiny-net", ["--metric", "fid", "--features", "./other-net"]),
    ):
        code, _, err = dgm("eval", "./mine.npz", "--against", "stats:./kept", *args)
        assert code and words in err, err
    code, _, err = dgm("eval", "./mine.npz", "--against", "stats:./tiny-net", "--metric", "fid")
    assert code and "has no reference statistics" in err
    code, out, err = dgm("eval", "./mine.npz", "--against", "./real.npz", "--features", "./tiny-net", "--json",
                         "--metric", "fid-per-class", "--metric", "fid-infinity")  # fmt: skip
    assert code == 0, err
    rows = json.loads(out)
    assert {row["name"] for row in rows} == {"fid-per-class", "fid-infinity"}
    assert sum(row["n"] for row in rows if row["name"] == "fid-per-class") <= 200
