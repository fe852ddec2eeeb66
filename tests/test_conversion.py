"""Checkpoints of others: read without running code, converted completely or not at all."""

from __future__ import annotations

import argparse
import json
import pickle
import zipfile
from pathlib import Path

import pytest
import torch

import dgmcore
from dgmcore import conversion
from dgmcore.conversion.converters import Converted
from dgmcore.conversion.foreign import read_checkpoint, tensors_of
from dgmcore.entry import read_entry
from dgmcore.errors import DgmError, UsageError, WeightsError
from dgmcore.plugins.records import Converter

STATE = {"offset": torch.tensor([1.0, 2.0]), "matrix": torch.ones(2, 3)}


def converter(files, options):
    """A format `toy`: one file with `offset` and `matrix`."""
    state = tensors_of(read_checkpoint(files[0], allow=(argparse.Namespace,)))
    if "offset" not in state:
        raise WeightsError("no toy", "give a toy")
    renamed = {{"offset": "shift", "matrix": "bulk.weight"}.get(k, k): v for k, v in state.items()}
    return Converted(
        architecture="toy-shift",
        config={"width": state["matrix"].shape[1]},
        state={**renamed, "steps": torch.tensor(0)},
        license="Non-commercial",
        data={"dataset": options.get("dataset", "moons"), "event_shape": [2]},
        summary="A converted toy",
        notes=["(c) somebody"],
    )


def twin(files, options):
    return converter(files, options)


@pytest.fixture
def formats(toys, monkeypatch):
    known = {"toy": Converter(format="toy", import_=f"{__name__}:converter", plugin="t")}
    monkeypatch.setattr("dgmcore.plugins.converters", lambda: known)
    return known


@pytest.fixture
def checkpoint(tmp_path):
    path = tmp_path / "toy.pt"
    torch.save(STATE, path)
    return path


def test_convert_makes_an_entry_that_loads(formats, checkpoint, toys):
    folder = dgmcore.convert(checkpoint, "mine", "toy", toys / "registry", dataset="9gaussians", url="https://x.org")
    model = dgmcore.load("mine")
    assert folder == toys / "registry" / "mine"
    assert torch.equal(model.shift, STATE["offset"]) and torch.equal(model.bulk.weight, STATE["matrix"])
    entry = read_entry(folder)
    source = entry.training.source
    assert entry.license == "Non-commercial" and entry.data.dataset == "9gaussians"
    assert source["file"] == "toy.pt" and len(source["sha256"]) == 64
    assert (source["format"], source["url"], source["notes"]) == ("toy", "https://x.org", ["(c) somebody"])


def test_the_format_is_found_out(formats, checkpoint, toys):
    dgmcore.convert(checkpoint, "mine", out=toys / "registry")
    formats["twin"] = Converter(format="twin", import_=f"{__name__}:twin", plugin="t")
    with pytest.raises(UsageError, match="any of toy, twin"):
        dgmcore.convert(checkpoint, "mine", out=toys / "registry")
    torch.save({"x": torch.ones(1)}, checkpoint)
    with pytest.raises(UsageError, match="no converter knows"):
        dgmcore.convert(checkpoint, "mine", out=toys / "registry")
    with pytest.raises(UsageError, match="no format toi"):
        dgmcore.convert(checkpoint, "mine", "toi")


@pytest.mark.parametrize(
    "wrapped",
    [
        STATE,
        {"state_dict": STATE, "optimizer": {"state": {0: {"exp_avg": torch.ones(2)}}}, "epoch": 3},
        {"model": {f"module.{k}": v for k, v in STATE.items()}},
        {f"module._orig_mod.{k}": v for k, v in STATE.items()},
        {k: v.double() for k, v in STATE.items()},
        {"args": argparse.Namespace(lr=0.1), "state_dict": STATE},
    ],
    ids=["plain", "with an optimizer", "module.", "compiled", "float64", "with arguments"],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_wrappings(formats, toys, tmp_path, wrapped, zipped):
    torch.save(wrapped, tmp_path / "toy.pt", _use_new_zipfile_serialization=zipped)
    dgmcore.convert(tmp_path / "toy.pt", "mine", "toy", toys / "registry")
    assert torch.equal(dgmcore.load("mine").shift, STATE["offset"])


@pytest.mark.parametrize(
    ("state", "words"),
    [
        (
            {**STATE, "extra.weight": torch.ones(1), "more": torch.ones(1)},
            "extra.weight is unknown to the model; more",
        ),
        ({**STATE, "offset": torch.ones(3)}, r"shift has the shape \[3\], not \[2\]"),
        ({**STATE, "offset": torch.tensor([1.0, float("nan")])}, "1 of the 2 numbers of shift are not finite"),
        ({**STATE, "offset": torch.tensor([1, 2])}, r"shift is (torch.int|I)64"),
    ],
)
def test_what_does_not_fit_is_listed_and_nothing_is_written(formats, toys, tmp_path, state, words):
    torch.save(state, tmp_path / "toy.pt")
    with pytest.raises(WeightsError, match=words):
        dgmcore.convert(tmp_path / "toy.pt", "mine", "toy", toys / "registry")
    assert list((toys / "registry").iterdir()) == []


class Evil:
    def __reduce__(self):
        return (Path.touch, (Path("evil-was-here"),))


class Holder:
    pass


@pytest.mark.parametrize("content", [Evil(), {"state_dict": {"w": Evil()}}, {"a": Holder()}])
@pytest.mark.parametrize("zipped", [True, False])
def test_code_is_not_run(tmp_path, monkeypatch, content, zipped):
    monkeypatch.chdir(tmp_path)
    torch.save(content, "x.pt", _use_new_zipfile_serialization=zipped)
    with pytest.raises(WeightsError, match="is not read"):
        read_checkpoint("x.pt")
    assert not Path("evil-was-here").exists()


def test_arguments_need_to_be_allowed(tmp_path):
    torch.save({"args": argparse.Namespace(a=1), "w": torch.ones(1)}, tmp_path / "x.pt")
    with pytest.raises(WeightsError, match=r"argparse\.Namespace"):
        read_checkpoint(tmp_path / "x.pt")
    assert read_checkpoint(tmp_path / "x.pt", allow=(argparse.Namespace,))["args"].a == 1


def test_files_that_are_no_checkpoints(tmp_path):
    torch.save(STATE, tmp_path / "good.pt")
    good = (tmp_path / "good.pt").read_bytes()
    torch.save(STATE, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    old = (tmp_path / "old.pt").read_bytes()
    bad = [b"", b"nonsense", good[: len(good) // 2], old[: len(old) // 2], pickle.dumps([1, 2]), pickle.dumps("x" * 99)]
    for i, content in enumerate(bad):
        path = tmp_path / f"{i}.pt"
        path.write_bytes(content)
        with pytest.raises(WeightsError) as caught:
            read_checkpoint(path)
        assert "\n" not in caught.value.what, i
    with pytest.raises(WeightsError, match="no file"):
        read_checkpoint(tmp_path / "nothing.pt")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pt")
    with pytest.raises(WeightsError, match="no named tensors"):
        tensors_of({"epoch": 3})


def test_a_zip_bomb_is_not_unpacked(tmp_path):
    path = tmp_path / "bomb.pt"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(3_000_000))
    with pytest.raises(WeightsError, match="compressed archive"):
        read_checkpoint(path)


def test_safetensors_are_read_too(formats, toys, tmp_path):
    from safetensors.torch import save_file

    save_file(STATE, tmp_path / "toy.safetensors")
    dgmcore.convert(tmp_path / "toy.safetensors", "mine", "toy", toys / "registry")
    (tmp_path / "toy.safetensors").write_bytes(b"x" * 100)
    with pytest.raises(WeightsError):
        dgmcore.convert(tmp_path / "toy.safetensors", "mine", "toy", toys / "registry")


def test_wrong_calls(formats, checkpoint, toys):
    for call in (
        lambda: dgmcore.convert([], "mine", "toy"),
        lambda: dgmcore.convert(toys / "nothing.pt", "mine", "toy"),
        lambda: dgmcore.convert(checkpoint, "Not/A/Name", "toy"),
        lambda: dgmcore.convert(checkpoint, "../mine", "toy"),
    ):
        with pytest.raises(DgmError) as caught:
            call()
        assert caught.value.exit_code == 2
    assert conversion.Converted


# --- hostile files: a few bytes that ask for much ---------------------------------------------------


def expanded():
    return {**STATE, "matrix": torch.zeros(1).expand(2, 10**9)}


def overlapping():
    zero = torch.zeros(10_000)
    return {str(i): zero[: 9000 + i] for i in range(2000)}


def in_itself():
    inner = {"w": torch.ones(2)}
    for _ in range(60):
        inner = {"a": inner, "b": inner}
    return inner


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (expanded, "the tensor matrix has 2,000,000,000 numbers, more than the file stores"),
        (lambda: {"state_dict": {"deep": [expanded()]}}, "the tensor matrix has"),
        (overlapping, "numbers, more than the file stores"),
        (lambda: {"w": torch.ones(3).to_sparse()}, "the tensor w is no plain one"),
        (lambda: {"w": torch.empty(10**9, device="meta")}, "the tensor w is no plain one"),
    ],
)
@pytest.mark.parametrize("zipped", [True, False])
def test_tensors_are_bounded_by_what_is_stored(tmp_path, content, words, zipped):
    torch.save(content(), tmp_path / "x.pt", _use_new_zipfile_serialization=zipped)
    assert (tmp_path / "x.pt").stat().st_size < 1_000_000
    with pytest.raises(WeightsError, match=words) as caught:
        read_checkpoint(tmp_path / "x.pt")
    assert caught.value.hint


def test_containers_within_each_other_are_walked_once(tmp_path):
    torch.save(in_itself(), tmp_path / "x.pt")
    assert set(read_checkpoint(tmp_path / "x.pt")) == {"a", "b"}


def test_tensors_that_share_what_is_stored_are_read(tmp_path):
    w = torch.randn(100, 100)
    torch.save({"a": w, "b": w.T, "c": w[:50], "tied": w}, tmp_path / "x.pt")
    assert torch.equal(read_checkpoint(tmp_path / "x.pt")["b"], w.T)


def test_a_config_that_asks_for_more_than_its_tensors_is_refused(formats, checkpoint, toys):
    def greedy(files, options):
        made = converter(files, options)
        made.config = {"width": 10**9}
        return made

    globals()["greedy"] = greedy
    formats["greedy"] = Converter(format="greedy", import_=f"{__name__}:greedy", plugin="t")
    with pytest.raises(WeightsError, match="larger than its weights"):
        dgmcore.convert(checkpoint, "mine", "greedy", toys / "registry")


# --- files in pieces --------------------------------------------------------------------------------


def shards(folder, weight_map, kind="safetensors"):
    from safetensors.torch import save_file

    folder.mkdir(exist_ok=True)
    for i, (name, tensor) in enumerate(STATE.items()):
        path = folder / f"part-{i}.{kind}"
        save_file({name: tensor}, path) if kind == "safetensors" else torch.save({name: tensor}, path)
    index = folder / "model.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return index


@pytest.mark.parametrize("kind", ["safetensors", "pt"])
def test_files_in_pieces_are_read_by_their_index(formats, toys, tmp_path, kind):
    index = shards(tmp_path / "pieces", {"offset": f"part-0.{kind}", "matrix": f"part-1.{kind}"}, kind)
    folder = dgmcore.convert(index, "mine", "toy", toys / "registry")
    assert torch.equal(dgmcore.load("mine").shift, STATE["offset"])
    assert read_entry(folder).training.source["file"] == "model.index.json"


@pytest.mark.parametrize(
    ("weight_map", "words"),
    [
        ({"offset": "part-0.safetensors", "matrix": "part-0.safetensors"}, "does not hold what .* says: matrix"),
        ({"offset": "part-0.safetensors", "matrix": "gone.safetensors"}, "there is no file"),
        ({"offset": "../secret.safetensors"}, "no file beside it"),
        ({"offset": "/etc/passwd"}, "no file beside it"),
        ({"offset": "model.index.json"}, "no file beside it"),
        (["offset"], "no index of weights"),
        (None, "no index of weights"),
    ],
)
def test_an_index_that_lies_is_refused(tmp_path, weight_map, words):
    with pytest.raises(WeightsError, match=words) as caught:
        read_checkpoint(shards(tmp_path / "pieces", weight_map))
    assert caught.value.hint


def test_the_command(formats, checkpoint, toys, capsys):
    from dgmcore.cli import main

    def run(*arguments):
        code = main(["convert", *map(str, arguments)])
        return code, *capsys.readouterr()

    files = [checkpoint, "--as", "mine", "--out", toys]
    code, out, err = run(*files, "--format", "toy", "--set", "dataset=9gaussians")
    assert code == 0 and out == f"{toys / 'mine'}\n"
    assert "licence of these weights: Non-commercial" in err
    assert read_entry(toys / "mine").data.dataset == "9gaussians"
    code, out, err = run(*files, "--format", "toi")
    assert code == 2 and out == "" and err.startswith("error: there is no format toi")
    code, out, err = run(toys / "nothing.pt", "--as", "mine")
    assert code == 2 and "there is no file" in err
