"""docs/examples/bars.py: a plugin in one file, with all that a plugin can bring, and its twin that sees itself."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import pytest

from dgmcore.testing import check_model

FILE = Path(__file__).parent.parent / "docs" / "examples" / "bars.py"


def classes(path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def failed(kind, only=None):
    return [r.check for r in check_model(kind, only=only) if not r.ok]


def test_it_keeps_the_contracts():
    assert failed(classes(FILE).MadeBars) == []


def test_a_twin_whose_pixels_see_themselves_is_caught(tmp_path):
    twin = tmp_path / "twin.py"
    twin.write_text(FILE.read_text().replace("degree < rank", "degree <= rank"))
    assert failed(classes(twin).MadeBars, ["probabilities-sum-to-one"])


def test_a_twin_of_large_data_is_caught_on_smaller_ones(tmp_path):
    text = FILE.read_text().replace("(1, SIDE, SIDE)\n        hidden", "(1, 28, 28)\n        hidden")
    for name, of_pixels in (("right", text), ("twin", text.replace("degree < rank", "degree <= rank"))):
        (tmp_path / f"{name}.py").write_text(of_pixels)
    right, twin = (classes(tmp_path / f"{name}.py").MadeBars for name in ("right", "twin"))
    assert right().event_shape == (1, 28, 28)
    (passed,) = check_model(right, only=["probabilities-sum-to-one"])
    (caught,) = check_model(twin, only=["probabilities-sum-to-one"])
    assert passed.status == "passed" and "the probabilities of all 512 data sum to" in caught.message


@pytest.fixture
def dgm(tmp_path):
    """Runs dgm in an empty folder, with the file in the plugin folder of a new user."""
    own = {"XDG_DATA_HOME": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "1"}
    environment = {k: v for k, v in os.environ.items() if k != "DGM_REGISTRY"}
    environment |= own | {"DGM_PLUGINS": "bars,data,train,eval", "OMP_NUM_THREADS": "1"}

    def run(*args: str) -> str:
        command = [sys.executable, "-m", "dgmcore", *args]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_all_that_it_brings_works(dgm, tmp_path):
    plugins = tmp_path / "data" / "dgmcore" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "bars.py").write_text(FILE.read_text())
    brought = dgm("plugins", "--trust", "bars").splitlines()[-1]
    assert brought.endswith("1 architecture, 1 data set, 1 metric, 1 converter, 1 command")
    assert "###" in dgm("bars")
    budget = ["--set", "phases.0.minutes=null", "--set", "phases.0.steps=400", "--set", "phases.0.optimizer.lr=0.02"]
    entry = dgm("train", "made-bars", "bars", *budget).strip()
    assert entry == "runs/made-bars-bars/registry/made-bars-bars"
    shares = [line.split() for line in dgm("eval", entry, "--metric", "bars", "--n", "500").splitlines()]
    assert 0.3 < float(shares[1][1]) <= 1.0 and "500" in shares[1]
    assert "exact" in dgm("score", entry, "bars:test")
    dgm("convert", f"{entry}/model.safetensors", "--as", "mine", "--format", "bars", "--set", "license=CC0-1.0")
    assert dgm("sample", "mine", "-n", "4", "--out", "a.npy").strip() == "a.npy"
