"""`dgm push --all`: every entry of a registry on a Hub on loopback, interrupted, repeated, used by others."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import msgspec
import pytest
import torch
from dgm_publish.publish_all import publish_all
from hub_server import Fault
from test_hub_push import DATA, make

import dgmcore
from dgmcore.entry import read_entry, write_entry
from dgmcore.errors import DgmError
from dgmcore.loading.load import build


@pytest.fixture
def registry(toys, hub):
    """Two toys and one that is composed of them, whose name comes before theirs."""
    make(toys, "left", 1.0)
    make(toys, "right", 2.0)
    same = {"license": "mit", "data": DATA, "samples_png": toys / "picture.png"}
    build("toy-pair", {}, {"first": "left", "second": "right"}).save(toys / "registry" / "duo", name="duo", **same)
    return toys / "registry"


def places(registry):
    """What the entries say of where their weights are."""
    found = {e.name: read_entry(e).weights for e in sorted(registry.iterdir())}
    return {name: w.hub and (w.hub.repo, w.hub.revision) for name, w in found.items()}


def test_parts_come_first_and_where_they_are_is_recorded(registry, hub):
    before = {e.name: read_entry(e) for e in registry.iterdir()}
    steps = list(publish_all("user", record=True))
    assert [(s.name, s.place, s.total, s.recorded) for s in steps] == [
        ("left", 1, 3, True),
        ("right", 2, 3, True),
        ("duo", 3, 3, True),
    ]
    assert places(registry) == {n: (f"user/{n}", hub.repos[f"user/{n}"].refs["main"]) for n in ("duo", "left", "right")}
    for entry in before.values():
        now = read_entry(registry / entry.name)
        assert now.weights.sha256 == entry.weights.sha256
        weights = msgspec.structs.replace(now.weights, hub=None)
        assert msgspec.structs.replace(now, weights=weights) == entry, "nothing else is rewritten"
    assert "parts/left/model.safetensors" in hub.files("user/duo")
    config = hub.files("user/duo")["config.json"]
    assert len(config) < 200 and json.loads(config)["architectures"] == ["toy-pair"]


def test_entries_without_weights_give_the_same_bits_and_count_as_downloads(registry, hub):
    expected = dgmcore.sample("duo", n=4)
    list(publish_all("user", record=True))
    for weights in registry.glob("*/model.safetensors"):
        weights.unlink()
    hub.requests.clear()
    assert [p.name for p in dgmcore.pull("duo")] == ["duo", "left", "right"]
    counted = {path for _, path in hub.requests if path.endswith("/config.json")}
    assert len(counted) == 3, "the Hub counts questions for this file"
    assert torch.equal(dgmcore.sample("duo", n=4), expected)
    hub.requests.clear()
    assert not any(s.pushed.changed or s.recorded for s in publish_all("user", record=True))
    assert not any(method == "PUT" for method, _ in hub.requests)


@pytest.mark.parametrize("record", [True, False])
def test_three_interruptions_and_the_fourth_run_completes(registry, hub, record):
    def interrupted(fault):
        hub.faults[:] = [fault]
        names = []
        with pytest.raises(DgmError) as caught:
            for step in publish_all("user", record=record):
                names.append((step.name, step.pushed.changed))
        assert "the same command goes on from here" in caught.value.hint
        hub.faults.clear()
        return names, caught.value.what

    refused = {"code": 403, "method": "POST"}
    names, what = interrupted(Fault("status", path="/user/left/commit", **refused))
    assert names == [] and "left, number 1 of 3" in what and places(registry)["left"] is None
    names, what = interrupted(Fault("status", path="/user/right/preupload", **refused))
    assert names == [("left", True)] and "right, number 2 of 3" in what
    assert (places(registry)["left"] is not None) is record and places(registry)["duo"] is None
    names, what = interrupted(Fault("status", path="/user/duo/commit", **refused))
    assert names == [("left", False), ("right", True)] and "duo, number 3 of 3" in what
    last = [(s.name, s.pushed.changed, s.recorded) for s in publish_all("user", record=record)]
    assert last == [("left", False, False), ("right", False, False), ("duo", True, record)]
    assert all(place is not None for place in places(registry).values()) is record


def test_a_run_that_died_before_it_recorded_records_when_it_is_repeated(registry, hub):
    steps = publish_all("user")
    next(steps)
    steps.close()
    assert places(registry)["left"] is None
    first = next(publish_all("user", record=True))
    assert first.name == "left" and not first.pushed.changed and first.recorded
    assert places(registry)["left"] == ("user/left", first.pushed.commit)


def test_what_has_changed_is_published_again_and_recorded(registry, hub, toys):
    list(publish_all("user", record=True))
    before = places(registry)
    make(toys, "left", 3.0)
    steps = {s.name: s for s in publish_all("user", record=True)}
    assert {n for n, s in steps.items() if s.pushed.changed} == {"left", "duo"}, "the part travels with the whole"
    assert places(registry)["right"] == before["right"] and places(registry)["left"] != before["left"]


def test_weights_of_others_stay_where_they_are(registry, hub):
    shutil.rmtree(registry / "duo")
    text = (registry / "left" / "model.yaml").read_text()
    theirs = text.replace("weights:\n", "weights:\n  hub: {repo: stranger/left, revision: v1}\n")
    (registry / "left" / "model.yaml").write_text(theirs)
    (registry / "left" / "model.safetensors").unlink()
    steps = {s.name: s for s in publish_all("user", record=True)}
    assert steps["left"].pushed is None and "stranger/left" in steps["left"].why
    assert steps["right"].pushed is not None and "user/left" not in hub.repos
    assert (registry / "left" / "model.yaml").read_text() == theirs


def test_a_dry_run_sends_and_writes_nothing(registry, hub):
    texts = {e: (e / "model.yaml").read_bytes() for e in registry.iterdir()}
    steps = list(publish_all("user", record=True, dry_run=True))
    assert [s.pushed.commit for s in steps] == [None] * 3 and hub.requests == []
    assert texts == {e: (e / "model.yaml").read_bytes() for e in registry.iterdir()}


def test_the_command(registry, hub):
    def dgm(*args):
        return subprocess.run([sys.executable, "-m", "dgmcore", *args], capture_output=True, text=True, env=os.environ)

    shutil.rmtree(registry / "duo")
    done = dgm("push", "--all", "--namespace", "user", "--record", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert [e["name"] for e in said["entries"]] == ["left", "right"] and said["sent"] is True
    assert "1/2 left: published" in done.stderr and "2 of them new or changed; 2 recorded" in done.stderr
    for wrong in (
        ["--all"],
        ["left", "--all", "--namespace", "user"],
        ["left"],
        ["left", "--repo", "user/left", "--record"],
    ):
        failed = dgm("push", *wrong)
        assert failed.returncode == 2 and len(failed.stderr.splitlines()) == 2, failed.stderr


def test_a_hash_that_nobody_wrote_is_recorded_too(registry, hub):
    entry = read_entry(registry / "left")
    unknown = msgspec.structs.replace(entry.weights, sha256=None)
    write_entry(msgspec.structs.replace(entry, weights=unknown), registry / "left")
    next(publish_all("user", record=True))
    assert read_entry(registry / "left").weights.sha256 == entry.weights.sha256
