"""What an entry says of its data is so of its model, or it is refused: variants of shipped entries."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

import dgmcore
from dgmcore.errors import DgmError
from dgmcore.files import yaml
from dgmcore.sampling.draw import first_states, stream

HERE = Path(__file__).parent.parent / "registry"


@pytest.fixture
def variant(tmp_path):
    """Writes a shipped entry with something else in it; returns its folder."""

    def write(name, **changes):
        folder = tmp_path / name
        shutil.copytree(HERE / name, folder)
        entry = yaml.read(folder / "model.yaml")
        for key, value in changes.items():
            entry[key] = {**entry.get(key, {}), **value}
        (folder / "model.yaml").write_text(yaml.dump(entry))
        return folder

    return write


@pytest.mark.parametrize(
    ("name", "changes", "what"),
    [
        ("rnn-tfim", {"data": {"levels": 3}}, "data.levels: 3 is not the model's, which is 4"),
        ("rnn-tfim", {"data": {"levels": 256}}, "data.levels: 256 is not the model's, which is 4"),
        ("rbm-mnist", {"data": {"levels": 256}}, "data.levels: 256 is not the model's, which is 2"),
        ("rnn-tfim", {"data": {"range": [0.0, 1.0]}}, r"data.range: \[0.0, 1.0\] is not the model's"),
        ("realnvp-moons", {"data": {"levels": 256}}, "data.levels: without a range they are none"),
        ("realnvp-moons", {"weights": {"parameters": 10**12}}, "weights.parameters: 1000000000000 is not the model's"),
        ("realnvp-moons", {"weights": {"parameters": -5}}, "weights.parameters: expected `int` >= 0"),
        ("realnvp-moons", {"weights": {"size": -1}}, "weights.size: expected `int` >= 0"),
        ("rbm-mnist", {"sampling": {"steps": 0}}, "steps: expected `int` >= 1"),
        ("dsm-moons", {"sampling": {"steps": 0}}, "steps: expected `int` >= 1"),
        ("ddpm-moons", {"config": {"schedule": {"steps": 10**6}}}, "steps: expected `int` <= 10000"),
    ],
)
def test_what_is_not_so_is_refused(variant, name, changes, what):
    with pytest.raises(DgmError, match=what):
        dgmcore.load(variant(name, **changes))


def test_work_without_end_is_done_at_the_users_word_only(variant):
    model = dgmcore.load(variant("dsm-moons", sampling={"steps": 10**6}))
    for work in (dgmcore.sample, stream, first_states):
        with pytest.raises(DgmError, match="the entry of dsm-moons asks for steps=1,000,000") as e:
            next(iter(work(model, 2)))
        assert "--set steps=1000000" in e.value.hint
        assert len(next(iter(work(model, 2, steps=2)))) == 2
    flow = dgmcore.load(variant("ffjord-moons", sampling={"steps": 10**6}))  # scored as it is drawn
    with pytest.raises(DgmError, match="asks for steps=1,000,000"):
        dgmcore.score(flow, np.zeros((2, 2)))
    assert dgmcore.score(flow, np.zeros((2, 2)), steps=4).n == 2


def test_samples_of_a_bound_are_no_option_of_an_exact_density():
    with pytest.raises(DgmError, match="k=2 is for a bound: Glow has an exact density"):
        dgmcore.score("glowebm-fashion", np.zeros((1, 1, 28, 28), np.uint8), k=2)


def test_what_is_not_said_is_no_contradiction(variant):
    assert dgmcore.load(variant("rnn-tfim", data={"levels": None})).event_shape == (8,)


def test_a_model_of_levels_is_not_trained_on_others(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save("bits.npy", np.random.default_rng(0).integers(0, 2, (64, 5)).astype(np.float32))
    recipe = {
        "schema": 1,
        "name": "bits",
        "architecture": "rbm",
        "license": "MIT",
        "config": {"event_shape": [5], "hidden": 3},
        "data": {"dataset": "bits.npy", "range": [0, 1], "levels": 256},
        "phases": [{"phase": "likelihood", "steps": 2, "batch_size": 8}],
    }
    with pytest.raises(DgmError, match="is a model of data of 2 levels"):
        dgmcore.train(recipe)
    for levels in (2, None):
        folder = dgmcore.train({**recipe, "name": f"bits-{levels or 0}"}, set={"data": {"levels": levels}})
        assert dgmcore.load(folder).data_levels == 2


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1O", "yes"])
def test_what_is_no_number_is_said(text, capsys):
    from dgmcore.cli import main

    code = main(["sample", "flowmatching-moons", "-n", "2", "--set", f"guidance={text}"])
    assert code == 2 and "guidance in sampling options: give a finite number" in capsys.readouterr().err
    assert main(["score", "rnn-tfim", "moons:test"]) == 1
    assert "hint: give data in it" in capsys.readouterr().err
