"""MNIST in black and white."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dgmcore.data import open_data
from dgmcore.errors import DataError


@pytest.fixture(autouse=True)
def grey(tmp_path, monkeypatch):
    monkeypatch.setenv("DGM_DATA", str(tmp_path))
    values = np.random.default_rng(0).choice([0, 51, 204, 255], (500, 28, 28)).astype(np.uint8)
    np.savez(tmp_path / "mnist.npz", x_train=values, y_train=np.arange(500), x_test=values[:9], y_test=np.arange(9))
    return values


def test_pixels_are_white_with_their_grey_value_as_probability(grey):
    data = open_data("mnist-binary")
    assert data.levels == 2 and data.range == (0.0, 1.0) and data.event_shape == (1, 28, 28)
    x = data.take(np.arange(500))[:, 0].numpy()
    assert set(np.unique(x)) == {0.0, 1.0}
    assert (x[grey == 0] == 0).all() and (x[grey == 255] == 1).all()
    assert x[grey == 51].mean() == pytest.approx(0.2, abs=0.005)
    assert x[grey == 204].mean() == pytest.approx(0.8, abs=0.005)
    assert data.labels(np.array([3, 7])).tolist() == [3, 7]


def test_the_draws_are_a_function_of_the_seed_and_the_split():
    index = np.arange(9)
    first = open_data("mnist-binary").take(index)
    assert torch.equal(first, open_data("mnist-binary:train", options={"seed": 0}).take(index))
    assert not torch.equal(first, open_data("mnist-binary", options={"seed": 1}).take(index))
    assert not torch.equal(first, open_data("mnist-binary:test").take(index))
    with pytest.raises(DataError, match="seed"):
        open_data("mnist-binary", options={"seed": "x"})


def test_other_ranges_and_margins_work_as_for_grey_images():
    x = open_data("mnist-binary:test", range=[-1, 1], pad=32).take(np.arange(3))
    assert x.shape == (3, 1, 32, 32) and set(x.unique().tolist()) == {-1.0, 1.0}
