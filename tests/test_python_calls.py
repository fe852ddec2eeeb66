"""Calls in Python with what is of another kind: an error that says what to do, before any work."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import dgmcore
from dgmcore.errors import DgmError


@pytest.fixture(scope="module")
def model():
    return dgmcore.load("realnvp-moons")


X = np.zeros((4, 2), np.float32)


@pytest.mark.parametrize(
    "kind", [None, 3.0, {"x": X}, (x for x in X), b"x.npy"], ids=["none", "number", "mapping", "generator", "bytes"]
)
def test_data_are_a_name_or_numbers(model, kind):
    with pytest.raises(DgmError, match="can't be a "):
        dgmcore.score(model, kind)


@pytest.mark.parametrize(
    "half",
    [
        X + 1j,
        np.ma.masked_array(X, X == 0),
        X.astype("datetime64[s]"),
        X.astype("timedelta64[s]"),
        X.astype(str),
        X.astype("S"),
        torch.from_numpy(X + 1j),
        torch.from_numpy(X).to_sparse(),
        torch.empty(4, 2, device="meta"),
    ],
    ids=["complex", "masked", "dates", "durations", "texts", "bytes", "complex tensor", "sparse", "meta"],
)
def test_no_half_of_the_numbers_is_dropped(model, half):
    with pytest.raises(DgmError, match="no array of numbers"):
        dgmcore.score(model, half)


def test_tables_are_numbers(model):
    table = pytest.importorskip("pandas").DataFrame({"a": [0.0, 1.0], "b": [0.5, -0.5]})
    assert torch.equal(dgmcore.score(model, table).values, dgmcore.score(model, table.to_numpy()).values)


@pytest.mark.parametrize("y", [[1j, 0.0], ["1", "2"], np.zeros(2, "datetime64[s]"), torch.zeros(2).to_sparse(), None])
def test_what_is_seen_is_numbers(y):
    from dgm_given import Observation

    with pytest.raises(DgmError, match="no array of numbers"):
        Observation(y)


@pytest.mark.parametrize("device", ["xyz", None, "cuda:99", 3.5, "meta"])
def test_devices(model, device):
    if device != "meta":  # where a model can be, and do nothing
        with pytest.raises(DgmError, match="device"):
            dgmcore.load("realnvp-moons", device=device)
    for call in (dgmcore.sample, dgmcore.score, dgmcore.evaluate):
        if device is not None:  # which leaves the model where it is
            with pytest.raises(DgmError, match="device"):
                call(
                    "realnvp-moons" if device == "meta" else model,
                    *([X] if call is dgmcore.score else []),
                    device=device,
                )


@pytest.mark.parametrize("n", [True, 2.5, "3", None, torch.tensor(2.5)])
def test_numbers_are_whole(model, n):
    with pytest.raises(DgmError, match="the number of samples can't be"):
        dgmcore.sample(model, n)


@pytest.mark.parametrize("options", [[1], "steps=3", 3])
def test_options_are_a_mapping(model, options):
    with pytest.raises(DgmError, match="options can't be"):
        dgmcore.sample(model, 2, options=options)


@pytest.mark.parametrize("how", [{"against": X}, {"ood": X}, {"metrics": ["nll", 3]}], ids=str)
def test_evaluations(model, how):
    with pytest.raises(DgmError, match="can't be a "):
        dgmcore.evaluate(model, n=10, **how)


@pytest.mark.parametrize(
    ("args", "how"),
    [((None,), {}), ((3,), {}), (("realnvp", X), {}), (({},), {"runs": 3}), (({},), {"out": 3}), (({},), {"set": 3})],
    ids=str,
)
def test_trainings(args, how):
    with pytest.raises(DgmError, match="can't be"):
        dgmcore.train(*args, **how)


def test_observations():
    with pytest.raises(DgmError, match="says nothing that can be seen"):
        dgmcore.given("realnvp-moons", 3)
    for sigma in (0.25, [0.25]):
        model = dgmcore.given("realnvp-moons", "x0=1", sigma=sigma)
        assert model.observations[0].sigma == 0.25
