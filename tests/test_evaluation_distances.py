"""The distances against answers that are known."""

from __future__ import annotations

import math
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from dgm_eval import distances
from dgm_eval.metrics import energy_distance, precision_recall
from dgm_eval.metrics.modes import _kl_of, covered, histogram
from dgm_eval.two_samples.extrapolated import fid_per_class
from hypothesis import given, settings
from hypothesis import strategies as st


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def with_moments(n: int, mean: torch.Tensor, covariance: torch.Tensor, seed: int) -> torch.Tensor:
    """Points whose sample mean and sample covariance are exactly those given."""
    x = normal(n, len(mean), seed=seed)
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T.cov())).T
    return mean + x @ torch.linalg.cholesky(covariance).T


def test_frechet_distance_of_two_gaussians_in_closed_form():
    a, b = normal(5, 5, seed=1), normal(5, 5, seed=2)
    mean = torch.arange(5, dtype=torch.float64)
    # with a common basis of eigenvectors: |m|^2 + sum (sqrt(l) - sqrt(k))^2
    q = torch.linalg.qr(a).Q
    l, k = torch.tensor([1.0, 2.0, 3.0, 0.5, 4.0]).double(), torch.tensor([2.0, 2.0, 0.1, 5.0, 1.0]).double()
    x = with_moments(50, mean, q @ torch.diag(l) @ q.T, 3)
    y = with_moments(70, torch.zeros(5).double(), q @ torch.diag(k) @ q.T, 4)
    assert distances.frechet(x, y) == pytest.approx(float(mean.square().sum() + (l.sqrt() - k.sqrt()).square().sum()))
    # and in general, by scipy's matrix square root
    from scipy.linalg import sqrtm

    s, t = a @ a.T + torch.eye(5), b @ b.T + torch.eye(5)
    x, y = with_moments(50, mean, s, 5), with_moments(60, 0 * mean, t, 6)
    expected = float(mean.square().sum() + s.trace() + t.trace()) - 2 * np.trace(sqrtm((s @ t).numpy()).real)
    assert distances.frechet(x, y) == pytest.approx(expected)
    assert distances.frechet(x, x) == pytest.approx(0, abs=1e-9)


def test_kernel_distance_is_unbiased_and_seeded():
    # of one distribution: the mean over many pairs of small sets is zero, where a biased estimate would not be
    values = [
        distances.kernel_distance(normal(20, 3, seed=i), normal(20, 3, seed=1000 + i), subsets=1)[0] for i in range(200)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / math.sqrt(200)
    x, y = normal(30, 3), normal(30, 3, seed=1) + 1
    kernel = lambda a, b: (a @ b.T / 3 + 1) ** 3  # noqa: E731
    off = lambda g: float(g.sum() - g.trace()) / (30 * 29)  # noqa: E731
    expected = off(kernel(x, x)) + off(kernel(y, y)) - 2 * float(kernel(x, y).mean())
    assert distances.kernel_distance(x, y, subsets=3)[0] == pytest.approx(expected)
    state = torch.get_rng_state()
    big = normal(300, 3), normal(300, 3, seed=1)
    assert distances.kernel_distance(*big, subset_size=50) == distances.kernel_distance(*big, subset_size=50)
    assert torch.equal(state, torch.get_rng_state())


def test_inception_score_of_sure_and_unsure_classifiers():
    sure = 100 * torch.eye(10)[torch.arange(1000) % 10]
    assert distances.inception_score(sure, splits=1)[0] == pytest.approx(10)
    assert distances.inception_score(torch.zeros(1000, 10))[0] == pytest.approx(1)
    assert distances.inception_score(sure[:1].repeat(500, 1))[0] == pytest.approx(1)


def test_precision_and_recall_of_constructed_sets():
    grid = torch.cartesian_prod(torch.arange(10.0), torch.arange(10.0))
    near, far = grid + 0.01, grid + 1000
    assert distances.precision_recall(near, grid) == (1, 1)
    assert distances.precision_recall(far, grid) == (0, 0)
    # half of the samples are far away: precision one half; their own balls reach nobody else
    mixed = torch.cat([near, far])
    assert distances.precision_recall(mixed, grid) == (0.5, 1)
    # samples of one half of the data only: all precise, but half of the data are out of their reach
    left = near[near[:, 0] < 5]
    precision, recall = distances.precision_recall(left, grid)
    assert precision == 1
    assert 0.5 <= recall <= 0.61  # one more column may be within the third neighbour's distance


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 12), st.integers(1, 12), st.integers(1, 5), st.floats(0, 2), st.integers(0, 99))
def test_energy_distance_against_a_double_loop(n, m, d, eps, seed):
    x, y = normal(n, d, seed=seed), normal(m, d, seed=seed + 1) + 0.5

    def mean(a, b):
        return sum(math.sqrt(float((p - q).square().sum()) + eps) for p in a for q in b) / (len(a) * len(b))

    expected = n * m / (n + m) ** 2 * (2 * mean(x, y) - mean(x, x) - mean(y, y))
    assert distances.energy_distance(x, y, eps) == pytest.approx(expected, abs=1e-6)


def test_energy_distance_has_no_nan_far_from_the_origin():
    x = (normal(500, 3) + 1e4).float()
    assert distances.energy_distance(x, x, eps=0) == pytest.approx(0, abs=1e-4)


def test_blocks_change_nothing(monkeypatch):
    x, y = normal(50, 4), normal(40, 4, seed=1)
    whole = distances.energy_distance(x, y), distances.precision_recall(x, y)
    for module in (energy_distance, precision_recall):
        monkeypatch.setattr(module, "BLOCK", 7)
    assert distances.energy_distance(x, y) == pytest.approx(whole[0])
    assert distances.precision_recall(x, y) == whole[1]


# --- others' implementations -------------------------------------------------------------------------


class Given(torch.nn.Module):
    """Stands for torchmetrics' feature network where the features are given."""

    num_features = 16

    def forward(self, features):
        return features


def by_torchmetrics(module: str, name: str, *, seed: int = 0, x=None, y=None, **settings):
    """What torchmetrics computes of features, its shuffling seeded."""
    kind = getattr(pytest.importorskip(f"torchmetrics.image.{module}"), name)
    with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
        warnings.simplefilter("ignore")
        torch.manual_seed(seed)
        metric = kind(feature=Given(), sync_on_compute=False, **settings)
        if y is None:
            metric.update(x)
        else:
            metric.update(y, real=True)
            metric.update(x, real=False)
        return metric.compute()


@pytest.mark.parametrize("seed", [0, 5])
def test_what_torchmetrics_says(seed):
    x = normal(700, 16, seed=seed) @ normal(16, 16, seed=3) + 0.3
    y = normal(900, 16, seed=seed + 1) @ normal(16, 16, seed=4)
    found = by_torchmetrics("fid", "FrechetInceptionDistance", x=x, y=y)
    assert distances.frechet(x, y) == pytest.approx(float(found), rel=1e-6)
    found = by_torchmetrics("kid", "KernelInceptionDistance", x=x, y=y, seed=seed, subsets=5, subset_size=100)
    assert distances.kernel_distance(x, y, subsets=5, subset_size=100, seed=seed) == pytest.approx(
        tuple(map(float, found)), rel=1e-6
    )
    found = by_torchmetrics("inception", "InceptionScore", x=x, seed=seed, splits=7)
    assert distances.inception_score(x, seed=seed) == pytest.approx(tuple(map(float, found)), rel=1e-6)


def test_what_sklearn_and_scipy_say():
    from scipy.spatial.distance import cdist
    from scipy.stats import energy_distance as on_a_line
    from scipy.stats import entropy
    from sklearn.metrics import roc_auc_score
    from sklearn.neighbors import NearestNeighbors

    x, y = normal(150, 3, seed=7) + 0.3, normal(110, 3, seed=8)
    scores = torch.cat([x[:, 0], y[:, 0]]).round(decimals=1)  # with ties
    area = roc_auc_score([1] * len(x) + [0] * len(y), scores.numpy())
    assert distances.auroc(scores[: len(x)], scores[len(x) :]) == pytest.approx(area)
    between, within_x, within_y = (
        np.sqrt(cdist(a, b, "sqeuclidean") + 0.1).mean() for a, b in ((x, y), (x, x), (y, y))
    )
    expected = 150 * 110 / 260**2 * (2 * between - within_x - within_y)
    assert distances.energy_distance(x, y) == pytest.approx(expected)
    expected = 150 * 110 / 260**2 * on_a_line(x[:, 0].numpy(), y[:, 0].numpy()) ** 2  # whose square is the distance
    assert distances.energy_distance(x[:, :1], y[:, :1], eps=0) == pytest.approx(expected)
    first, second = (NearestNeighbors(n_neighbors=1).fit(points.numpy()) for points in (x[:50], x[50:100]))
    nearer = [index.kneighbors(y.numpy())[0][:, 0] for index in (first, second)]
    assert distances.nearer_to_first(y, x[:50], x[50:]).mean() == pytest.approx((nearer[0] < nearer[1]).mean())
    labels = (10 * normal(400, 1, seed=9).abs() % 10).long()
    uniform = np.full(10, 0.1)
    expected = entropy(np.bincount(labels[:, 0].numpy(), minlength=10), uniform)
    assert _kl_of(labels) == pytest.approx(expected)


def test_classes_are_measured_each_as_torchmetrics_would(monkeypatch):
    """The metric `fid-per-class`, of points whose class is the largest of their first three numbers."""
    x, y = normal(700, 4, seed=10) + 0.3, normal(600, 4, seed=11)
    kept = {"samples": x, "real": y}
    stand_in = SimpleNamespace(
        is_classifier=True, features=lambda p: p, logits=lambda p: p[:, :3], fields=dict, name="toy"
    )
    run = SimpleNamespace(
        features_name="toy", extractor=stand_in, against="toy", sampling={}, seed=0,
        samples=lambda view: view(run, kept["samples"]), real=lambda view: view(run, kept["real"]),
        record=lambda name, value, **fields: (value, fields["unit"], fields["n"]),
    )  # fmt: skip
    for label, (value, unit, n) in enumerate(fid_per_class(run)):
        a, b = (p[p[:, :3].argmax(1) == label] for p in (x, y))
        monkeypatch.setattr(Given, "num_features", 4)
        theirs = by_torchmetrics("fid", "FrechetInceptionDistance", x=a, y=b)
        assert (unit, n) == (f"class {label}", len(a)) and value == pytest.approx(float(theirs), rel=1e-6)


def test_evaluating_imports_no_torchmetrics():
    code = "import sys, dgm_eval.distances, dgm_eval.evaluate, dgm_eval.metrics.modes, dgm_eval.metrics.likelihood\n"
    code += "print([m for m in ('torchmetrics', 'scipy', 'matplotlib', 'rich') if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr


def test_auroc_of_known_values():
    assert distances.auroc(torch.tensor([2.0, 3.0]), torch.tensor([0.0, 1.0])) == 1
    assert distances.auroc(torch.tensor([0.0, 1.0]), torch.tensor([2.0, 3.0])) == 0
    assert distances.auroc(torch.tensor([1.0, 2.0]), torch.tensor([1.0, 1.5])) == 0.625  # (1/2 + 0 + 1 + 1) / 4
    assert distances.auroc(torch.tensor([-9.0, 2.0]), torch.tensor([-math.inf, -math.inf])) == 1
    # two unit normals that are d apart: Phi(d / sqrt 2)
    d, n = 1.0, 20_000
    value = distances.auroc(normal(n) + d, normal(n, seed=1))
    assert value == pytest.approx(0.5 * (1 + math.erf(d / 2)), abs=0.01)


def test_modes_of_constructed_sets():
    centres = torch.cartesian_prod(torch.arange(3.0), torch.arange(3.0))
    x = torch.cat([centres[:4], centres[:4] + 0.2, centres[:1] + 0.5])
    assert covered(x, centres, 0.1) == (4, pytest.approx(8 / 9))
    counts = histogram(torch.tensor([[0, 0, 1], [9, 9, 9], [0, 0, 1]]))
    assert counts.shape == (1000,)
    assert counts[1] == 2 and counts[999] == 1 and counts.sum() == 3
