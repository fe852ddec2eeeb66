"""Models in what people use: graphs of ONNX, distributions of torch, an estimator of scikit-learn, tables of pandas."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from dgm_export.distribution import as_distribution
from dgm_export.tables import from_pandas, from_torch, to_pandas

import dgmcore
from dgmcore.data import as_tensor
from dgmcore.errors import CapabilityError, DataError, DgmError, OptionError, UsageError

# --- ONNX -----------------------------------------------------------------------------------------------


def session(path):
    onnxruntime = pytest.importorskip("onnxruntime")
    return onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])


def test_a_sampler_as_a_graph_gives_the_samples(dgm):
    pytest.importorskip("onnxscript")
    code, out, err = dgm("export", "ridge", "--json")
    assert code == 0, err
    done = json.loads(out)
    assert (done["file"], done["kind"], done["inputs"]) == ("ridge-sampler.onnx", "sampler", {"z": [2]})
    assert done["difference"] <= 1e-5
    noise = dgmcore.IndexedNoise(3, 11).named({"z": (2,)})
    (found,) = session("ridge-sampler.onnx").run(None, {"z": noise["z"].numpy()})
    torch.testing.assert_close(torch.from_numpy(found), dgmcore.sample("ridge", 11, seed=3), rtol=1e-5, atol=1e-5)


def test_a_density_and_a_score_as_graphs(dgm):
    pytest.importorskip("onnxscript")
    x = torch.randn(7, 2, generator=torch.Generator().manual_seed(0))
    for name, part, method in (("ridge", "log-prob", "log_prob"), ("judge", "score", "score")):
        code, out, err = dgm("export", name, "--part", part, "--out", f"{name}.onnx")
        assert (code, out) == (0, f"{name}.onnx\n") and "difference from the model" in err, err
        (found,) = session(f"{name}.onnx").run(None, {"data": x.numpy()})
        with torch.no_grad():
            expected = getattr(dgmcore.load(name), method)(x)
        torch.testing.assert_close(torch.from_numpy(found), expected, rtol=1e-5, atol=1e-5)


def test_what_is_no_graph_is_refused_and_nothing_is_written(dgm, toy_entries):
    for words, args in (
        ("can't be written as ONNX", ["walk"]),  # draws at every step
        ("can't be written as log-prob", ["bound", "--part", "log-prob"]),  # a bound has random numbers in it
        ("there is no part", ["ridge", "--part", "everything"]),
        ("there is no format", ["ridge", "--format", "h5"]),
    ):
        code, _, err = dgm("export", *args)
        assert code == 2 and words in err and len(err.splitlines()) == 2, err
    assert list(toy_entries.iterdir()) == []


# --- torch.distributions ----------------------------------------------------------------------------------


def test_a_model_is_a_distribution_of_torch(toy_entries):
    model = dgmcore.load("ridge")
    d = model.as_distribution()
    assert isinstance(d, torch.distributions.Distribution) and d.normalized and d.has_rsample
    assert (d.batch_shape, d.event_shape) == ((), (2,))
    torch.manual_seed(3)
    x = d.sample((4, 5))
    torch.manual_seed(3)
    assert torch.equal(d.sample((4, 5)), x) and not torch.equal(d.sample((4, 5)), x)
    assert x.shape == (4, 5, 2) and not x.requires_grad and d.sample().shape == (2,)
    assert d.support.check(x).all() and d.support.event_dim == 1
    with torch.no_grad():
        expected = model.log_prob(x.reshape(20, 2)).reshape(4, 5)
    torch.testing.assert_close(d.log_prob(x), expected)
    d.rsample((3,)).sum().backward()
    assert model.width.grad is not None
    # it integrates to one, as it says
    grid = torch.cartesian_prod(*[torch.linspace(-6, 6, 301)] * 2)
    assert float(d.log_prob(grid).detach().exp().sum() * (12 / 300) ** 2) == pytest.approx(1, abs=1e-3)
    with pytest.raises(ValueError, match="expected values of shape"):
        d.log_prob(torch.zeros(3, 3))
    independent = torch.distributions.Independent(torch.distributions.Normal(torch.zeros(2), torch.ones(2)), 1)
    kl = (d.log_prob(x) - independent.log_prob(x)).mean()
    assert math.isfinite(float(kl)) and "ridge" in repr(d)
    with pytest.raises(NotImplementedError):
        d.expand((3,))


def test_only_an_exact_density_is_taken_for_a_normalised_one(toy_entries):
    bound = as_distribution(dgmcore.load("bound"))
    assert not bound.normalized
    with pytest.raises(CapabilityError, match="it is lower_bound") as caught:
        bound.log_prob(torch.zeros(2))
    assert 'accept="lower_bound"' in caught.value.hint
    assert as_distribution(dgmcore.load("bound"), accept="lower_bound").log_prob(torch.zeros(3, 2)).shape == (3,)
    with pytest.raises(UsageError, match="no likelihood"):
        as_distribution(dgmcore.load("bound"), accept="any")
    walk = as_distribution(dgmcore.load("walk"), steps=2)
    assert walk.sample((3,)).shape == (3, 2) and not walk.has_rsample
    with pytest.raises(CapabilityError, match="has no density"):
        walk.log_prob(torch.zeros(2))
    with pytest.raises(OptionError):
        as_distribution(dgmcore.load("walk"), stepz=2)
    with pytest.raises(CapabilityError, match="can't be sampled"):
        as_distribution(dgmcore.load("judge")).sample()


def test_the_support_of_levels(toy_entries):
    support = as_distribution(dgmcore.load("levels")).support
    levels = torch.linspace(-1, 1, 256)[torch.randint(256, (5, 1, 8, 8))]
    assert support.event_dim == 3 and support.check(levels).all()
    assert not support.check(levels + 0.001).any() and not support.check(levels * 3 + 2).all()


# --- scikit-learn -----------------------------------------------------------------------------------------

SMALL = {"hidden": [8], "transforms": 1}


def test_the_estimator_meets_sklearns_checks(monkeypatch):
    from dgm_export.estimator import EXCEPTIONS, DensityEstimator
    from sklearn.utils.estimator_checks import check_estimator

    estimator = DensityEstimator(steps=2, config=SMALL)
    results = check_estimator(estimator, expected_failed_checks=EXCEPTIONS, on_fail=None, on_skip=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] == "failed"}
    assert not failed and len(results) > 30
    assert {r["check_name"] for r in results if r["status"] == "xfail"} == set(EXCEPTIONS)


def test_an_estimator_learns_and_keeps_the_columns():
    pandas = pytest.importorskip("pandas")
    from dgm_export.estimator import DensityEstimator

    generator = np.random.default_rng(0)
    table = pandas.DataFrame({"age": generator.normal(40, 5, 500), "height": generator.normal(170, 8, 500)})
    fitted = DensityEstimator(steps=150, config=SMALL).fit(table)
    assert list(fitted.feature_names_in_) == ["age", "height"]
    samples = fitted.sample(400)
    assert list(samples.columns) == ["age", "height"] and len(samples) == 400
    assert np.abs(samples.mean() - table.mean()).max() < 2 and np.abs(samples.std() / table.std() - 1).max() < 0.25
    pandas.testing.assert_frame_equal(fitted.sample(400), samples)
    from scipy.stats import norm

    truth = norm(40, 5).logpdf(table["age"]).mean() + norm(170, 8).logpdf(table["height"]).mean()
    assert fitted.score(table) == pytest.approx(truth, abs=0.15)
    assert fitted.score_samples(table).shape == (500,)
    with pytest.raises(ValueError, match="can't be built for n_features=2"):
        DensityEstimator("mlp-energy", config={"hidden": [4]}, steps=1).fit(table)


# --- data -------------------------------------------------------------------------------------------------


def test_tables_of_pandas_go_in_and_come_out():
    pandas = pytest.importorskip("pandas")
    table = pandas.DataFrame({"a": [1, 2, 3], "b": [0.5, 1.5, 2.5]})
    data, names = from_pandas(table)
    assert names == ["a", "b"] and as_tensor(data).tolist() == [[1, 0.5], [2, 1.5], [3, 2.5]]
    assert to_pandas(as_tensor(data), names).equals(table.astype(np.float32))
    assert list(to_pandas(torch.zeros(2, 2)).columns) == ["x0", "x1"]
    with pytest.raises(DataError, match="the column c holds"):
        from_pandas(table.assign(c=["x", "y", "z"]))
    with pytest.raises(DataError, match="not finite"):
        from_pandas(table.assign(c=[1.0, math.nan, 2.0]))
    with pytest.raises(DataError, match="1 names for 2 columns"):
        to_pandas(torch.zeros(2, 2), ["a"])
    with pytest.raises(DataError, match="no table"):
        to_pandas(torch.zeros(2, 2, 2))


def test_data_sets_of_torch_are_data(toy_entries):
    from torch.utils.data import TensorDataset

    x = torch.randn(20, 2, generator=torch.Generator().manual_seed(0))
    data = from_torch(TensorDataset(x, torch.arange(20) % 3))
    assert len(data) == 20 and data.event_shape == (2,)
    assert torch.equal(data.take(np.array([3, 1])), x[[3, 1]])
    assert data.labels(np.array([3, 4])).tolist() == [0, 1]
    assert dgmcore.score("ridge", data).n == 20
    torch.testing.assert_close(dgmcore.score("ridge", data).values, dgmcore.score("ridge", x).values)
    for wrong, words in (
        ([], "is empty"),
        (iter([1]), "no length"),
        ([torch.zeros(2), torch.zeros(3)], "several shapes"),
        (["text"], "is no tensor"),
        ([torch.full((2,), math.nan)], "not finite"),
    ):
        with pytest.raises(DgmError, match=words):
            as_tensor(from_torch(wrong))
