"""Files of one's own as data: entries find them, nothing is validated on what was trained on, runs know them again."""

from __future__ import annotations

from pathlib import Path

import dgm_eval.records
import numpy as np
import pytest
import torch
from dgm_publish.publish import public
from dgm_train.loop.stream import Stream
from installation import invoke
from msgspec.structs import replace

import dgmcore
from dgmcore.data import open_data
from dgmcore.data.spec import DataSpec
from dgmcore.entry import read_entry
from dgmcore.errors import DgmError

FEW = {"phases": {"0": {"minutes": None, "steps": 3, "batch_size": 8}}, "samples_every": None, "config": {"hidden": 4}}


@pytest.fixture
def points(tmp_path, monkeypatch):
    """A file of two splits in the current folder."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    draw = np.random.default_rng(0)
    np.savez("s.npz", **{key: draw.normal(size=(64, 2)).astype(np.float32) for key in ("x_train", "x_test")})
    return "s.npz"


def test_an_entry_finds_its_data_from_any_folder_and_publishes_their_name_only(points, tmp_path, monkeypatch):
    folder = dgmcore.train("realnvp", points, set=FEW).absolute()
    monkeypatch.chdir(tmp_path)
    (metric,) = dgmcore.evaluate(folder, "energy-distance", n=20)
    assert metric.against == f"{tmp_path}/here/s.npz:test" and metric.floor is not None
    entry = read_entry(folder)
    command = f"dgm eval realnvp-s --against {metric.against}"
    there = public(replace(entry, metrics=(replace(metric, command=command),)))
    assert there.data.dataset == "s.npz" and there.metrics[0].against == "s.npz:test"
    assert there.metrics[0].command == "dgm eval realnvp-s --against s.npz:test"


def test_a_file_in_capitals_has_splits_too(points):
    Path(points).rename("S.NPZ")
    (metric,) = dgmcore.evaluate("realnvp-moons", "energy-distance", n=8, against="S.NPZ")
    assert metric.against == "S.NPZ:test"


@pytest.mark.parametrize("validation", [{"dataset": "s.npz"}, {"dataset": "./s.npz", "split": "train"}])
def test_nothing_is_validated_on_what_was_trained_on(points, validation):
    with pytest.raises(DgmError, match="validation is on the training data") as refused:
        dgmcore.train("realnvp", points, set={**FEW, "validate_every": 2, "validation": validation})
    assert "another split" in refused.value.hint
    dgmcore.train("realnvp", points, set={**FEW, "validate_every": 2, "validation": {**validation, "split": "test"}})


def test_nor_on_the_same_under_another_name(points):
    with np.load(points) as arrays:
        np.save("x.npy", arrays["x_train"])
        np.savez("twice.npz", x_train=arrays["x_train"], x_test=arrays["x_train"])
    Path("link.npy").symlink_to("x.npy")
    again = {**FEW, "validate_every": 2}
    for data, validation in (("x.npy", {"dataset": "link.npy"}), ("x.npy", {"dataset": points}), ("twice.npz", None)):
        with pytest.raises(DgmError, match="on the training data"):
            dgmcore.train("realnvp", data, set={**again, "validation": validation})


def test_what_nobody_could_read_is_refused_before_the_work(points):
    for data in ({"range": [-2e6, 2e6]}, {"range": [-9, 9], "levels": 70_000}):
        with pytest.raises(DgmError, match=r"data\.(range|levels)"):
            dgmcore.train("realnvp", points, set={**FEW, "data": data})
        assert not Path("runs/realnvp-s/checkpoints").exists()


def test_a_run_that_goes_on_knows_its_data_again(points):
    dgmcore.train("realnvp", points, set=FEW)
    more = {**FEW, "phases": {"0": {**FEW["phases"]["0"], "steps": 5}}}
    dgmcore.train("realnvp", points, set=more, resume=True)  # though the data said the shape, not the recipe
    np.savez("s.npz", x_train=np.zeros((64, 2), np.float32))
    more["phases"]["0"]["steps"] = 7
    with pytest.raises(DgmError, match="holds has changed"):
        dgmcore.train("realnvp", points, set=more, resume=True)


def test_paths_that_are_no_text(points, capsys):
    np.save(odd := "x\udcff.npy", np.zeros((64, 2), np.float32))
    with pytest.raises(DgmError, match=r"data\.dataset: expected text in UTF-8"):
        dgmcore.train("realnvp", odd, set={**FEW, "name": "odd"})
    folder = dgmcore.train("realnvp", points, set=FEW)
    before = (folder / "model.yaml").read_bytes()
    code, out, err = invoke(capsys, "eval", f"./{folder}", "--metric", "nll", "--against", f"./{odd}", "--record")
    assert code == 2 and "can't be recorded" in err and not out, "before anything is measured"
    assert (folder / "model.yaml").read_bytes() == before


def test_what_was_measured_is_shown_though_it_can_not_be_recorded(points, capsys, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    folder = dgmcore.train("realnvp", points, set=FEW)
    monkeypatch.setattr(dgm_eval.records, "record", full)
    code, out, err = invoke(capsys, "eval", f"./{folder}", "--metric", "nll", "--record", "--json")
    assert code == 1 and '"name": "nll"' in out and "No space left" in err


@pytest.mark.parametrize("world", [1, 2])
def test_data_that_are_drawn_without_end_have_their_labels(world):
    data = open_data(DataSpec(dataset="9gaussians", options={"std": 0.01}))
    for rank in range(world):
        stream = Stream(data, 12, seed=3, scope="a", rank=rank, world=world)
        for k in (0, 4):
            x = stream.batch(k)
            labels = stream.labels()
            centres = data.base.centres[labels]
            assert len(labels) == 12 // world and (x - centres).abs().max() < 0.1
    with pytest.raises(DgmError, match="no labels"):
        Stream(_Unlabelled(), 4, seed=0, scope="a").labels()


class _Unlabelled(dgmcore.data.Dataset):
    name, event_shape = "plain", (2,)

    def __len__(self):
        return 8

    def take(self, index):
        return torch.zeros(len(index), 2)
