"""Entries are verified, removed, and described; what dgm keeps is shown, and what can be made again is removed."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import dgmcore
from dgmcore.model import save


def own(folder: str, name: str = "walk") -> Path:
    model = dgmcore.load(name)
    data = {"dataset": "moons", "event_shape": list(model.event_shape)}
    return save(model, Path(folder), name=Path(folder).name, license="CC0-1.0", data=data, architecture=f"toy-{name}")


def test_weights_are_verified_whatever_was_verified_before(dgm, toy_entries):
    own("./mine")
    code, out, err = dgm("verify", "./mine", "ridge", "--json")
    assert code == 0, err
    assert [(row["name"], row["status"]) for row in json.loads(out)] == [("mine", "ok"), ("ridge", "ok")]
    weights = toy_entries / "mine" / "model.safetensors"
    before = os.stat(weights)
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))  # what is remembered is not believed
    code, out, err = dgm("verify", "./mine")
    assert code == 1 and "wrong" in out and "its sha256 is" in out
    weights.unlink()
    code, out, _ = dgm("verify", "./mine", "--json")
    assert code == 1 and json.loads(out)[0]["status"] == "missing"
    assert dgm("verify")[0] == dgm("verify", "ridge", "--all")[0] == 2
    assert dgm("verify", "nobody")[0] == 1


def test_an_entry_of_ones_own_is_removed_and_other_files_stay(dgm, toy_entries):
    own("./mine")
    (toy_entries / "mine" / "notes.txt").write_text("keep me")
    code, _, err = dgm("rm", "./mine")
    assert code == 2 and "say --yes" in err and (toy_entries / "mine" / "model.yaml").exists()
    code, out, err = dgm("rm", "./mine", "--yes", "--json")
    assert code == 0 and json.loads(out)["left"] == ["notes.txt"]
    assert os.listdir("mine") == ["notes.txt"]
    own("./other")
    assert dgm("rm", "./other", "--yes")[0] == 0 and not Path("other").exists()
    code, _, err = dgm("rm", "./other", "--yes")
    assert code == 1 and "there is no folder" in err


def test_what_others_are_made_of_is_not_removed_unasked(dgm, toy_entries, monkeypatch):
    registry = toy_entries / "zoo"
    own(registry / "a-base", "ridge")
    own(registry / "a-judge", "judge")
    (registry / "a-pair").mkdir()
    (registry / "a-pair" / "model.yaml").write_text(
        "schema: 1\nname: a-pair\narchitecture: tilted\nlicense: CC0-1.0\n"
        "data: {dataset: moons, event_shape: [2]}\nparts: {base: a-base, critic: a-judge}\n"
    )
    monkeypatch.setenv("DGM_REGISTRY", str(registry))
    code, _, err = dgm("rm", "a-base", "--yes")
    assert code == 1 and "is a part of" in err and "a-pair" in err and (registry / "a-base").exists()
    assert dgm("rm", "a-base", "--yes", "--force")[0] == 0 and not (registry / "a-base").exists()


def test_what_came_with_a_package_is_not_removed(dgm):
    code, _, err = dgm("rm", "realnvp-moons", "--yes")
    assert code == 2 and "came with" in err
    assert dgm("info", "realnvp-moons")[0] == 0


def test_the_cache_is_shown_and_pruned(dgm, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    shutil.copytree(dgmcore.info("ridge")["folder"], tmp_path / "hub" / "models--a--b")
    folder = tmp_path / "c" / "dgmcore" / "data"
    folder.mkdir(parents=True)
    (folder / "big").write_bytes(bytes(100_000))
    os.link(folder / "big", folder / "same")
    rows = {row["what"]: row for row in json.loads(dgm("cache", "--json")[1])}
    assert rows["cache: data"]["bytes"] == 100_000 and rows["cache: data"]["prunable"]
    assert rows["yours: registry"]["bytes"] > 1000 and not rows["yours: registry"]["prunable"]
    assert rows["Hub's cache, of other programs too"]["bytes"] > 100
    code, out, err = dgm("cache", "--prune")
    assert code == 0 and "cache: data" in out and "removed" in err
    assert not folder.exists() and (tmp_path / "hub" / "models--a--b").exists()
    assert dgm("info", "ridge")[0] == 0, "the index is made again"


def test_schemas_say_what_is_accepted(dgm):
    jsonschema = pytest.importorskip("jsonschema")
    entry = json.loads(dgm("schema", "entry")[1])
    jsonschema.Draft202012Validator.check_schema(entry)
    from dgmcore.files import yaml

    described = yaml.read(Path(dgmcore.info("realnvp-moons")["folder"]) / "model.yaml")
    plain = json.loads(json.dumps(described))
    jsonschema.validate(plain, entry)
    for wrong in ({"schema": "one"}, {"unknown": 1}, {"name": "No Name"}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({**plain, **wrong}, entry)


def test_schemas_of_recipes_and_models(dgm):
    recipe = json.loads(dgm("schema", "recipe")[1])
    assert recipe["$ref"].startswith("#/$defs/") and "phases" in json.dumps(recipe)
    walk = json.loads(dgm("schema", "walk")[1])
    name = walk["properties"]["sampling"]["$ref"].rpartition("/")[2]
    assert walk["$defs"][name]["properties"]["steps"] == {"type": "integer", "default": 10}
    assert dgm("schema", "nobody")[0] == 1


def test_what_is_fetched_and_published_is_told_as_json(dgm):
    (row,) = json.loads(dgm("pull", "ridge", "--json")[1])
    assert row["name"] == "ridge" and row["license"] == "CC0-1.0" and Path(row["path"]).is_file()
    own("./mine", "ridge")
    code, out, err = dgm("push", "./mine", "--repo", "me/mine", "--dry-run", "--json")
    assert code == 0, err
    said = json.loads(out)
    assert said["repo"] == "me/mine" and "model.safetensors" in said["files"] and said["sent"] is False
