"""What a model says of itself, and to whom asks it in another way than it takes."""

from __future__ import annotations

import os
import stat

import pytest
import torch

import dgmcore
from dgmcore.errors import UsageError
from dgmcore.files.tensors import write_tensors
from dgmcore.sampling.draw import stream


def test_a_model_says_what_it_is_in_a_few_lines():
    lines = repr(dgmcore.load("realnvp-moons")).splitlines()
    assert len(lines) <= 5 and lines[0].startswith("RealNVP (realnvp-moons: ")
    assert "205,848 weights" in lines[1] and "density" in lines[2]


def test_a_number_is_no_noise():
    model = dgmcore.load("realnvp-moons")
    with pytest.raises(UsageError, match="sample takes noise, not 5") as e:
        model.sample(5)
    assert "dgmcore.sample(model, 5)" in e.value.hint


def test_a_name_is_a_model():
    (first,) = stream("realnvp-moons", 3, seed=1)
    assert torch.equal(first, dgmcore.sample("realnvp-moons", 3, seed=1))


def test_weights_are_readable_as_the_umask_says(tmp_path):
    before = os.umask(0o022)
    try:
        write_tensors({"x": torch.ones(3)}, tmp_path / "a.safetensors")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.safetensors").stat().st_mode) == 0o644
