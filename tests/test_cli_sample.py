"""`dgm sample` and `score` as a user runs them."""

from __future__ import annotations

import csv
import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image

import dgmcore
from dgmcore.cli import main


def load(path):
    with np.load(path) as archive:
        return archive["samples"]


def test_the_default_is_a_picture_whose_path_is_printed(dgm, toy_entries):
    assert dgm("sample", "pixels") == (0, "pixels-seed0.png\n", "")
    assert dgm("sample", "ridge", "--seed", 3)[1] == "ridge-seed3.png\n"
    with Image.open("ridge-seed3.png") as scatter, Image.open("pixels-seed0.png") as grid:
        assert (scatter.mode, grid.mode) == ("RGB", "L") and scatter.size == (720, 720)
    assert sorted(p.name for p in toy_entries.iterdir()) == ["pixels-seed0.png", "ridge-seed3.png"]


@pytest.mark.parametrize("name", ["ridge", "walk", "pixels"])
def test_the_noise_contract_holds_from_outside(dgm, name):
    for out, n, size in (("a.npz", 5, 2), ("b.npz", 5, 5), ("c.npz", 3, 3)):
        assert dgm("sample", name, "-n", n, "--seed", 7, "--batch-size", size, "--out", out)[:2] == (0, out + "\n")
    a, b, c = map(load, ("a.npz", "b.npz", "c.npz"))
    np.testing.assert_allclose(a, b, rtol=0, atol=1e-6)
    np.testing.assert_allclose(a[:3], c, rtol=0, atol=1e-6)
    assert np.array_equal(dgmcore.sample(name, 5, seed=7).numpy(), b)


def test_planes_have_more_points_in_pictures_than_elsewhere(dgm):
    assert json.loads(dgm("sample", "ridge", "--json")[1])["n"] == 2000
    assert json.loads(dgm("sample", "ridge", "--json", "--out", "x.npz")[1])["n"] == 16
    assert json.loads(dgm("sample", "pixels", "--json")[1])["n"] == 16
    assert json.loads(dgm("sample", "ridge", "--json", "-n", 5)[1])["n"] == 5


def test_arrays_need_no_pictures(toy_entries):
    code = "import sys; from dgmcore.cli import main; main(['sample', 'ridge', '--out', 'x.npz'])\n"
    code += "heavy = ('PIL', 'matplotlib', 'rich.progress', 'dgmcore.sampling.pictures', 'dgmcore.data', 'dgm_eval')\n"
    code += "print([m for m in heavy if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120)
    assert done.stdout == "x.npz\n[]\n", done.stderr


def test_a_tilted_picture_has_a_name_of_its_own(dgm, toy_entries):
    names = [dgm("sample", "ridge", "--set", "steps=1", *tilt)[1] for tilt in (["--tilt", "judge"],)]
    names += [dgm("sample", "ridge", *tilt)[1] for tilt in ([], ["--tilt", "judge:0.5"], ["--tilt", "judge:-2"])]
    assert names == [f"ridge{by}-seed0.png\n" for by in ("-by-judge", "", "-by-judge-0.5", "-by-judge--2")]
    assert len(list(toy_entries.iterdir())) == 4


def test_a_home_folder_is_found(dgm, toy_entries, monkeypatch):
    monkeypatch.setenv("HOME", str(toy_entries))
    for command in (["sample", "ridge", "-n", 3], ["score", "ridge", "~/x.csv"], ["interpolate", "ridge"]):
        out = "~/w.png" if command[0] == "interpolate" else "~/x.csv" if command[0] == "sample" else "~/s.csv"
        code, said, err = dgm(*command, "--out", out)
        assert code == 0, err
        assert command[0] == "score" or said == f"{toy_entries}{out[1:]}\n"
    assert sorted(p.name for p in toy_entries.iterdir()) == ["s.csv", "s.csv.json", "w.png", "x.csv", "x.csv.json"]


def test_options_of_models_are_not_arguments_of_ours(dgm):
    for option in ("seed=5", "n=5", "start={z: 1.0}", "batch_size=2", "noise=3", "first=1", "path=x"):
        for command in (["sample", "walk", "--seed", 3], ["score", "ridge", "moons:test", "-n", 3]):
            code, out, err = dgm(*command, "--set", option)
            assert (code, out) == (2, "") and f"unknown key {option.partition('=')[0]}" in err, (command, option)
    settings = ["--tilt", "judge", "--set", "steps=0", "-n", 3, "--out", "x.npz"]
    assert dgm("sample", "ridge", *settings)[0] == 0
    plain = load("x.npz")
    assert dgm("sample", "ridge", *settings, "--set", "start={z: 0.0}")[0] == 0
    assert np.abs(load("x.npz")).max() < 1e-6 < np.abs(plain).max()


def test_numbers_out_of_range_are_two_lines(dgm):
    for arguments in (
        ["sample", "ridge", "--seed", -1],
        ["sample", "ridge", "--seed", "9" * 23],
        ["sample", "ridge", "--batch-size", -1],
        ["score", "ridge", "moons:test", "--seed", -1],
        ["eval", "ridge", "--seed", -1],
        ["eval", "ridge", "--seed", "9" * 23],
        ["eval", "ridge", "--batch-size", -1],
        ["eval", "ridge", "--batch-size", 0],
        ["eval", "ridge", "--n", 1],
        ["interpolate", "ridge", "--seed", -1],
    ):
        code, out, err = dgm(*arguments)
        assert (code, out, len(err.splitlines())) == (2, "", 2), arguments
        assert "bug" not in err


def test_what_is_not_finite_is_one_error(dgm, toy_entries):
    for out in ("x.npz", "x.png", "x.csv", "x.svg"):
        code, said, err = dgm("sample", "walk", "--set", "step_size=1e30", "-n", 4, "--out", out, "--preview")
        assert (code, said) == (1, "") and "8 of 8 values of samples 0 to 3 of walk are not finite" in err
    np.save("far.npy", np.array([[0, 0], [1e30, 0]], np.float32))
    code, said, err = dgm("score", "ridge", "far.npy", "--out", "s.csv", "--json")
    assert (code, said) == (1, "") and "1 of 2 values of ridge's nats from datum 1 on" in err
    assert [p.name for p in toy_entries.iterdir()] == ["far.npy"]


def test_json_is_all_of_stdout(dgm):
    code, out, err = dgm("sample", "pixels", "-n", 2, "--json", "--preview", "--out", "x.npy")
    record = json.loads(out)
    assert code == 0 and {k: record[k] for k in ("model", "n", "seed", "out")} == {
        "model": "pixels",
        "n": 2,
        "seed": 0,
        "out": "x.npy",
    }
    assert "█" in err and "\x1b" not in err  # the preview, without colours where there is no terminal


def test_options_are_typed_by_the_model(dgm):
    dgm("sample", "walk", "--set", "steps=1", "--out", "a.npz")
    dgm("sample", "walk", "--set", "steps=2", "--set", "step_size=0.1", "--out", "b.npz")
    assert not np.array_equal(load("a.npz"), load("b.npz"))
    code, out, err = dgm("sample", "walk", "--set", "stepz=1")
    assert (code, out) == (2, "") and "unknown key stepz" in err and "did you mean steps" in err
    code, out, err = dgm("sample", "walk", "--set", "steps=many")
    assert (code, out) == (2, "") and len(err.splitlines()) == 2


@pytest.mark.parametrize(
    "arguments,code,words",
    [
        (["ridge", "--out", "x.jpg"], 2, "unknown suffix .jpg"),
        (["ridge", "--out", ""], 2, "an empty text names no file"),
        (["ridge", "--out", "x/"], 2, "only images"),
        (["ridge", "-n", "0"], 2, "-n"),
        (["ridge", "--batch-size", "0"], 2, "--batch-size"),
        (["ridge", "--trajectory", "x.gif"], 2, "no trajectory"),
        (["walk", "--trajectory", "x.mp4"], 2, "x.mp4"),
        (["judge"], 2, "no generator"),
        (["ridge", "--tilt", "walk"], 2, "critic"),
        (["pixels", "--tilt", "judge"], 2, "shape"),
        (["ridge", "--init", "x.png"], 2, "--init"),
        (["ridge", "--device", "cuda:7"], 2, "device"),
        (["rigde"], 1, "rigde"),
    ],
)
def test_errors_are_two_lines_and_leave_nothing(dgm, toy_entries, arguments, code, words):
    got, out, err = dgm("sample", *arguments)
    assert (got, out) == (code, "") and words in err
    what, hint = err.splitlines()
    assert what.startswith("error: ") and hint.startswith("hint: ")
    assert list(toy_entries.iterdir()) == []


def test_a_place_that_cant_be_written_is_one_error(dgm, toy_entries):
    (toy_entries / "file").write_text("")
    code, out, err = dgm("sample", "ridge", "--out", "file/x.npy")
    assert (code, out) == (1, "") and "can't write" in err and len(err.splitlines()) == 2
    if os.geteuid() != 0:
        (toy_entries / "locked").mkdir(mode=0o500)
        assert "may write" in dgm("sample", "ridge", "--out", "locked/x.npy")[2]


def test_trajectories_are_animations_of_the_same_samples(dgm):
    dgm("sample", "walk", "--out", "a.npz")
    assert dgm("sample", "walk", "--out", "b.npz", "--trajectory", "way.gif")[:2] == (0, "b.npz\n")
    assert np.array_equal(load("a.npz"), load("b.npz"))
    with Image.open("way.gif") as gif:
        assert gif.n_frames == 11 and gif.size == (480, 480)


def test_tilting_moves_samples_where_the_critic_scores_high(dgm):
    settings = ["-n", 2000, "--set", "steps=30", "--set", "step_size=0.2"]
    for out, tilt in (("none", "judge:0"), ("full", "judge"), ("less", "judge:0.25")):
        assert dgm("sample", "ridge", "--tilt", tilt, "--out", f"{out}.npz", *settings)[0] == 0
    none, less, full = (load(f"{k}.npz")[:, 0].mean() for k in ("none", "less", "full"))
    assert abs(none) < 0.1  # N(0, 1) tilted by exp(w 2 x) is N(2 w, 1)
    assert abs(less - 0.5) < 0.15 and 1.5 < full < 2.1


def test_init_is_given_to_models_that_take_a_picture(dgm):
    Image.new("RGB", (20, 10), (255, 255, 255)).save("white.png")
    dgm("sample", "paint", "--set", "steps=1", "--init", "white.png", "--out", "x.npz")
    assert (load("x.npz") == 1).all()


def test_scores(dgm):
    dgm("sample", "ridge", "-n", 200, "--out", "x.csv")
    code, out, _err = dgm("score", "ridge", "x.csv", "--json", "--out", "scores.csv")
    summary = json.loads(out)
    assert code == 0 and list(summary) == ["model", "kind", "unit", "n", "mean", "std", "bits_per_dim"]
    assert (summary["model"], summary["kind"], summary["unit"], summary["n"]) == ("ridge", "exact", "nats", 200)
    assert summary["bits_per_dim"] is None
    with open("scores.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["index", "value"] and [int(r["index"]) for r in rows] == list(range(200))
    values = torch.tensor([float(r["value"]) for r in rows])
    expected = dgmcore.load("ridge").log_prob(dgmcore.sample("ridge", 200)).detach()
    torch.testing.assert_close(values, expected, rtol=1e-5, atol=1e-5)
    assert summary["mean"] == pytest.approx(float(values.mean()), rel=1e-5)

    dgm("sample", "pixels", "--out", "images/")
    code, out, err = dgm("score", "levels", "images")
    assert code == 0 and "8" in out and err == ""
    code, out, err = dgm("score", "pixels", "images/00003.png", "--json")
    assert json.loads(out)["n"] == 1 and "uniform dequantisation of 256 levels" in err
    assert json.loads(dgm("score", "bound", "x.csv", "--set", "k=9", "--json")[1])["kind"] == "lower_bound"
    assert json.loads(dgm("score", "judge", "x.csv", "-n", 3, "--json")[1])["n"] == 3
    for arguments, words in (
        (["ridge", "images"], "shape"),
        (["ridge", "nowhere.npy"], "no nowhere.npy"),
        (["ridge", "x.csv", "--out", "x.txt"], "CSV"),
        (["walk", "x.csv"], "judges no data"),
    ):
        code, out, err = dgm("score", *arguments)
        assert code in (1, 2) and out == "" and words in err and len(err.splitlines()) == 2


def test_torchrun_writes_the_same_file(toy_entries):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-addr", "127.0.0.1"]
    command += ["--master-port", str(port), "-m", "dgmcore", "sample", "ridge", "-n", "64", "--batch-size", "10"]
    done = subprocess.run(
        [*command, "--out", "two.npz", "--json"], env=environment, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["n"] == 64  # one process talks
    assert main(["sample", "ridge", "-n", "64", "--batch-size", "10", "--out", "one.npz"]) == 0
    assert (toy_entries / "one.npz").read_bytes() == (toy_entries / "two.npz").read_bytes()
