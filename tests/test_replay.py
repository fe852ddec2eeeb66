"""Every file says how it was made; made again, it has the same bits, or the replay says what has changed."""

from __future__ import annotations

import json
import shutil
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import dgmcore
from dgmcore.errors import DataError, DgmError, UsageError
from dgmcore.sampling.draw import sample_to


@pytest.fixture
def replay(toy_entries):
    from dgm_replay.replay import replay

    return replay


def own(name, folder, change=lambda model: None):
    """An entry of the user's own like a toy, changed."""
    model = dgmcore.load(name)
    with torch.no_grad():
        change(model)
    entry = model.entry
    model.save(folder, name=name, license="CC0-1.0", data=entry.data, architecture=entry.architecture)


CALLS = [
    *(["sample", "pixels", "-n", 5, "--out", f"x{suffix}"] for suffix in (".png", ".npz", ".npy", ".csv", "/")),
    *(["sample", "ridge", "-n", 40, "--out", f"x{suffix}"] for suffix in (".png", ".svg", ".pdf", ".safetensors")),
    ["sample", "walk", "-n", 7, "--batch-size", 3, "--set", "steps=4", "--seed", 9, "--out", "x.npz"],
    ["sample", "ridge", "--tilt", "judge:0.5", "--set", "steps=2", "-n", 5, "--out", "x.csv"],
    ["sample", "walk", "--trajectory", "x.gif", "-n", 5, "--out", "y.png"],
    ["sample", "paint", "--init", "start.png", "-n", 3, "--out", "x/"],
    ["interpolate", "ridge", "--out", "x.png"],
    ["interpolate", "pixels", "--out", "x.gif", "-n", 3, "--rows", 2],
    ["interpolate", "ridge", "--data", "moons:test", "--rows", 3, "--out", "x.svg"],
    ["reconstruct", "ridge", "moons:test", "-n", 6, "--out", "x.png"],
    ["score", "bound", "moons:test", "-n", 50, "--batch-size", 7, "--seed", 2, "--set", "k=3", "--out", "x.csv"],
]


@pytest.mark.parametrize("call", CALLS, ids=lambda c: "-".join(map(str, c)).replace("/", "_"))
def test_what_is_made_again_has_the_same_bits(dgm, toy_entries, call):
    Image.new("L", (8, 8), 90).save("start.png")
    code, _, err = dgm(*call)
    assert code == 0, err
    file = next(str(c) for c in call if str(c).startswith("x"))
    code, said, err = dgm("replay", file)
    assert (code, said) == (0, f"{file.rstrip('/')}: equal, bit by bit\n"), err
    record = json.loads(dgm("info", file.rstrip("/") + ("/00001.png" if file == "x/" else ""), "--json")[1])
    assert record["call"] == call[0] and record["model"] == call[1]
    weights = dgmcore.info(call[1])["weights"]["sha256"]
    assert record["entries"][call[1]]["weights"] == weights
    assert record["versions"]["torch"] == torch.__version__
    said = dgm("info", file.rstrip("/") + ("/00001.png" if file == "x/" else ""))[1]
    assert "".join(said.split()).count(weights) == 1  # which a narrow terminal wraps


def test_one_picture_of_a_folder_is_drawn_in_its_batch(dgm, replay):
    dgm("sample", "pixels", "-n", 7, "--batch-size", 3, "--out", "all/")
    assert replay("all").equal and replay("all/00006.png").equal and replay("all/00004.png").equal
    record = json.loads(dgm("info", "all/00004.png", "--json")[1])
    assert record["index"] == 4 and record["arguments"]["batch_size"] == 3
    shutil.copy("all/00003.png", "all/00004.png")
    Path("all/00000.png").unlink()
    assert replay("all").differences[0] == "00000.png is not in the folder"
    assert "00004.png" in replay("all").differences[1]


def test_a_density_is_as_fine_as_then_on_a_machine_that_is_slower(dgm, replay, monkeypatch):
    from dgmcore.sampling.pictures import density

    dgm("sample", "ridge", "-n", 600, "--out", "x.png")
    monkeypatch.setattr(density, "_grid_within", lambda *args: None)
    assert replay("x.png").equal
    dgm("sample", "ridge", "-n", 600, "--out", "y.png")
    assert Path("x.png").read_bytes() != Path("y.png").read_bytes() and replay("y.png").equal


@pytest.mark.parametrize("suffix", [".npz", ".png", ".csv", ".gif"])
def test_a_changed_weight_is_named(dgm, replay, suffix):
    own("walk", "./mine")
    out = ["--trajectory", "x.gif"] if suffix == ".gif" else ["--out", f"x{suffix}"]
    dgm("sample", "./mine", "-n", 5, *out)
    assert replay(f"x{suffix}").equal
    before = dgmcore.info("./mine")["weights"]["sha256"]
    own("walk", "./mine", lambda model: model.centre.add_(0.5))
    after = dgmcore.info("./mine")["weights"]["sha256"]
    code, said, _ = dgm("replay", f"x{suffix}")
    assert code == 1 and "not equal" in said and "differ, by at most" in said
    assert f"weights of walk: sha256 {before[:12]}... then, {after[:12]}... now" in said
    assert dgm("replay", f"x{suffix}", "--model", "walk")[0] == 0, "the model as it was"


@pytest.mark.parametrize("suffix", [".npz", ".png", ".csv", ".svg", ".gif"])
def test_noise_is_of_the_version_that_drew(dgm, replay, suffix):
    """Whatever the entry says today."""
    out = ["--trajectory", "x.gif", "--out", "y.npz"] if suffix == ".gif" else ["--out", f"x{suffix}"]
    drawn = {}
    for version in (1, 2):
        own("walk", "./mine", lambda model, version=version: setattr(model, "noise_version", version))
        dgm("sample", "./mine", "-n", 5, *out)
        drawn[version] = Path(f"x{suffix}").read_bytes()
        assert json.loads(dgm("info", f"x{suffix}", "--json")[1])["noise"] == version
        assert f"version {version}" in dgm("info", f"x{suffix}")[1]
    assert drawn[1] != drawn[2] and replay(f"x{suffix}").equal
    own("walk", "./mine")
    done = replay(f"x{suffix}")
    assert done.equal and done.changed == []


def test_files_from_before_there_were_two_versions_of_the_noise(dgm, replay):
    dgm("sample", "walk", "-n", 5, "--out", "x.csv")
    sidecar = Path("x.csv.json")
    record = json.loads(sidecar.read_text())
    assert record.pop("noise") == 1
    sidecar.write_text(json.dumps(record))
    own("walk", "./mine", lambda model: setattr(model, "noise_version", 2))
    done = replay("x.csv", model="./mine")
    assert done.equal and done.changed == []


def test_what_else_has_changed_is_named(dgm, replay):
    dgm("sample", "walk", "-n", 5, "--out", "x.npy")
    sidecar = Path("x.npy.json")
    record = json.loads(sidecar.read_text())
    record["versions"]["torch"], record["options"]["steps"], record["threads"] = "1.0", 11, 1
    sidecar.write_text(json.dumps(record))
    done = replay("x.npy")
    assert not done.equal and f"versions.torch: '1.0' then, {torch.__version__} now" in done.changed


def test_a_model_that_was_changed_in_memory(replay, toy_entries):
    model = dgmcore.load("ridge")
    with torch.no_grad():
        model.width.mul_(2)
    sample_to("x.npz", model, 5)
    done = replay("x.npz")
    assert not done.equal and len(done.changed) == 1 and done.changed[0].startswith("weights in memory: sha256")


def test_a_file_that_was_changed_is_not_blamed_on_the_model(dgm, replay):
    dgm("sample", "ridge", "-n", 50, "--out", "x.npy")
    x = np.load("x.npy")
    x[3] += 0.25
    np.save("x.npy", x)
    done = replay("x.npy")
    assert not done.equal and done.changed == []
    assert done.differences[0].startswith("the file was changed after it was written")
    assert done.differences[1] == "1 of 50 samples differ, by at most 0.25"
    dgm("sample", "pixels", "--out", "y.png")
    with Image.open("y.png") as image:
        record, pixels = image.text["dgm"], image.copy()
    pixels.putpixel((0, 0), 7)
    from PIL.PngImagePlugin import PngInfo

    text = PngInfo()
    text.add_text("dgm", record)
    pixels.save("y.png", pnginfo=text)
    assert replay("y.png").differences[0].startswith("the samples are the same, their picture differs")


def test_data_that_have_changed_are_refused(dgm, replay):
    np.save("d.npy", np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32))
    dgm("reconstruct", "ridge", "./d.npy", "--out", "x.png")
    assert replay("x.png").equal
    np.save("d.npy", np.zeros((6, 2), np.float32))
    with pytest.raises(DataError, match="other data than when the file was made"):
        replay("x.png")


def test_a_tensor_of_which_only_the_digest_is_known(replay, toy_entries):
    sample_to("x.npz", dgmcore.load("walk"), 4, init=torch.ones(2))
    with pytest.raises(UsageError, match="a tensor as init"):
        replay("x.npz")


def test_files_without_a_record_and_with_a_damaged_one(dgm, replay, toy_entries):
    np.save("a.npy", np.zeros((3, 2), np.float32))
    Image.new("L", (4, 4)).save("a.png")
    Image.new("L", (4, 4)).save("a.gif", comment=b"made by somebody")
    np.savez("a.npz", samples=np.zeros((3, 2)))
    Path("a.svg").write_text("<svg/>")
    for file in ("a.npy", "a.png", "a.gif", "a.npz", "a.svg"):
        code, _, err = dgm("replay", file)
        assert code == 1 and "has no record" in err and len(err.splitlines()) == 2, err
        assert dgm("info", file)[0] == 1
    for file, words in (("none.png", "there is no file"), ("a.txt", "of no kind"), ("b.png", "can't be read")):
        if file != "none.png":
            Path(file).write_text("text")
        code, _, err = dgm("replay", file)
        assert code == 1 and words in err and len(err.splitlines()) == 2, err
    with zipfile.ZipFile("a.npz", "a") as archive:
        archive.comment = b'{"dgm": 1, "call": "sample"'
    assert "its record is damaged" in dgm("info", "a.npz")[2]
    with zipfile.ZipFile("a.npz", "a") as archive:
        archive.comment = b'{"dgm": 2, "call": "sample", "model": "x"}'
    assert "schema 2" in dgm("info", "a.npz")[2]
    with zipfile.ZipFile("a.npz", "a") as archive:
        archive.comment = b'{"dgm": 1, "call": "sample", "model": "ridge"}'
    with pytest.raises(DgmError, match="incomplete"):
        replay("a.npz")


def test_what_is_made_again_can_be_kept(dgm, replay):
    dgm("sample", "ridge", "-n", 5, "--out", "x.csv")
    assert json.loads(dgm("replay", "x.csv", "--out", "kept/again.csv", "--json")[1]) == {
        "file": "x.csv",
        "equal": True,
        "differences": [],
        "changed": [],
    }
    assert Path("kept/again.csv").read_bytes() == Path("x.csv").read_bytes()
    assert Path("kept/again.csv.json").read_bytes() == Path("x.csv.json").read_bytes()


def test_replay_computes_with_as_many_threads_as_then(dgm, replay):
    from dgmcore.sampling.provenance import making, text

    torch_threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        dgm("sample", "ridge", "-n", 5, "--out", "x.npz")
    finally:
        torch.set_num_threads(torch_threads)
    done = replay("x.npz")
    assert done.equal and done.changed == [] and torch.get_num_threads() == torch_threads
    with making("sample", dgmcore.load("ridge")):
        assert json.loads(text())["threads"] == torch_threads
    assert text() == ""
