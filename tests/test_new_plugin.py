"""The generated plugin, installed in a folder of its own: listed, sampled, trained, and passed by its own tests."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from dgm_authors.new_plugin import new_plugin

from dgmcore.errors import DgmError, UsageError

pytest.importorskip("copier")


@pytest.fixture(scope="module")
def plugin(tmp_path_factory):
    """The generated package, installed by pip into a folder of its own (it needs no network to build)."""

    folder = tmp_path_factory.mktemp("plugin")
    package, site = new_plugin("my-family", folder), folder / "site"
    if find_spec("hatchling") and find_spec("pip"):
        pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index"]
        built = [*pip, "--no-build-isolation", "--no-deps", "--target", str(site), str(package)]
        done = subprocess.run(built, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    else:  # the metadata that an installation would write
        site = package / "src"
        info = site / "my_family-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-family\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text("[dgm]\nmy-family = my_family\n")
    path = os.pathsep.join(p for p in (str(site), os.environ.get("PYTHONPATH", "")) if p)
    home = folder / "home"
    return package, {**os.environ, "PYTHONPATH": path, "XDG_CACHE_HOME": str(home), "XDG_DATA_HOME": str(home)}


def run(plugin, *args):
    package, env = plugin
    done = subprocess.run([sys.executable, *args], cwd=package, env=env, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_its_model_is_listed_and_draws(plugin):
    listed = json.loads(run(plugin, "-m", "dgmcore", "list", "--family", "my-family", "--json"))
    assert [(m["name"], m["available"], m["parameters"]) for m in listed] == [("my-family-moons", True, 5)]
    out = run(plugin, "-m", "dgmcore", "sample", "my-family-moons", "-n", "8", "--out", "x.npy")
    assert Path(plugin[0] / out.strip()).stat().st_size > 8 * 2 * 4


def test_its_own_tests_pass_and_so_does_the_command_that_checks_it(plugin):
    assert " passed" in run(plugin, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests")
    summary = json.loads(run(plugin, "-m", "dgmcore", "check-plugin", "my-family", "--json"))["summary"]
    assert summary["failed"] == 0 and summary["passed"] > 15, summary


def test_its_recipe_makes_the_shipped_weights_again(plugin):
    run(plugin, "-m", "dgmcore", "train", "recipes/my-family-moons.yaml", "--out", "again")
    from safetensors.torch import load_file

    shipped = load_file(plugin[0] / "src/my_family/registry/my-family-moons/model.safetensors")
    again = load_file(plugin[0] / "again/my-family-moons/model.safetensors")
    assert {k: v.tolist() for k, v in again.items()} == {
        k: pytest.approx(v.tolist(), abs=1e-4) for k, v in shipped.items()
    }


@pytest.mark.parametrize("name", ["My-Family", "a--b", "../x", "", "x" * 61, "1st"])
def test_bad_names_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match="can't name"):
        new_plugin(name, tmp_path)
    assert not any(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name", ["json", "torch", "class", "match", "dgm-flows", "flows", "realnvp", "sample", "train", "dgm", "con"]
)
def test_taken_names_are_refused(name, tmp_path):
    with pytest.raises(UsageError, match=f"{name} is taken"):
        new_plugin(name, tmp_path)
    assert not any(tmp_path.iterdir())


def test_an_existing_folder_is_left_alone(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "work.txt").write_text("precious")
    with pytest.raises(DgmError, match="exists"):
        new_plugin("mine", tmp_path)
    assert (tmp_path / "mine" / "work.txt").read_text() == "precious"
