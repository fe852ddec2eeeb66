"""Publishing through the real client to a Hub on loopback, and reading back what was published."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time

import msgspec
import numpy as np
import pytest
import torch
from hub_server import Fault
from huggingface_hub import ModelCard

import dgmcore
from dgmcore.entry import read_entry, write_entry
from dgmcore.errors import DgmError
from dgmcore.loading.load import build

DATA = {"dataset": "moons", "event_shape": [2]}
PUBLISHED = {"LICENSE", "README.md", "config.json", "model.safetensors", "model.yaml", "samples.png"}


@pytest.fixture
def toy(toys, hub):
    """A toy in the registry, with weights that are not zero."""
    return make(toys, "toy")


def make(home, name, value=1.5, **entry):
    model = build("toy-shift", {"width": 3})
    torch.nn.init.constant_(model.shift, value)
    picture = home / "picture.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    entry = {"license": "cc0-1.0", "data": DATA, "summary": f"A toy called {name}", "samples_png": picture, **entry}
    return model.save(home / "registry" / name, name=name, **entry)


def test_push_then_load_from_the_hub(toy, hub):
    done = dgmcore.push("toy", "user/toy")
    assert done.changed and set(done.files) == PUBLISHED
    assert set(hub.files("user/toy")) == PUBLISHED | {".gitattributes"}
    model = dgmcore.load("hf://user/toy")
    assert model.shift.tolist() == [1.5, 1.5]
    assert model.entry.license == "cc0-1.0"
    assert dgmcore.load("hf://user/toy", revision=done.commit).shift.tolist() == [1.5, 1.5]


def test_another_user_samples_what_was_published(toy, hub, toys, monkeypatch):
    """With a registry, a cache and a folder of their own, and no token."""
    here = dgmcore.sample("toy", 5, seed=3)
    dgmcore.push("toy", "user/toy")
    work = toys / "elsewhere"
    work.mkdir()
    for name, value in {"HF_HOME": work / "hf", "DGM_REGISTRY": work}.items():
        monkeypatch.setenv(name, str(value))
    monkeypatch.delenv("HF_TOKEN")
    command = [sys.executable, "-m", "dgmcore", "sample", "hf://user/toy", "-n", "5", "--seed", "3", "--out", "x.npy"]
    done = subprocess.run(command, cwd=work, capture_output=True, text=True, env=os.environ)
    assert done.returncode == 0 and done.stdout == "x.npy\n", done.stderr
    assert torch.equal(torch.from_numpy(np.load(work / "x.npy")), here)


def test_licences_of_the_model_and_its_parts_are_published(toys, hub):
    make(toys, "left", license="Non-commercial research only")
    make(toys, "right", license="mit")
    pair = build("toy-pair", {}, {"first": "left", "second": "right"})
    pair.save(toys / "registry" / "pair", name="pair", license="apache-2.0", data=DATA)
    dgmcore.push("pair", "user/pair")
    text = hub.files("user/pair")["LICENSE"].decode()
    for name, words in {"pair": "apache-2.0", "left": "Non-commercial research only", "right": "mit"}.items():
        assert name in text and words in text, text
    assert b"license: apache-2.0" in hub.files("user/pair")["README.md"]


def test_a_picture_is_drawn_where_there_is_none(toys, hub):
    make(toys, "toy", samples_png=None)
    assert dgmcore.push("toy", "user/toy").files["samples.png"] > 1000
    assert hub.files("user/toy")["samples.png"].startswith(b"\x89PNG")
    assert not dgmcore.push("toy", "user/toy").changed, "the picture is the same every time"


def test_pushing_twice_changes_nothing_and_pushing_news_changes_it(toy, hub, toys):
    first = dgmcore.push("toy", "user/toy")
    uploads = [r for r in hub.requests if r[0] == "PUT"]
    again = dgmcore.push("toy", "user/toy")
    assert not again.changed and again.commit == first.commit
    assert [r for r in hub.requests if r[0] == "PUT"] == uploads
    make(toys, "toy", 2.5)
    third = dgmcore.push("toy", "user/toy")
    assert third.changed and dgmcore.load("hf://user/toy").shift.tolist() == [2.5, 2.5]
    assert dgmcore.load(f"hf://user/toy@{first.commit}").shift.tolist() == [1.5, 1.5]


def test_the_card_has_metadata_measurements_and_usage(toys, hub):
    metrics = [{"name": "nll", "value": 0.35, "unit": "nats", "n": 20000, "against": "moons:test", "command": "dgm x"}]
    papers = [{"title": "A paper", "url": "https://arxiv.org/abs/1", "year": 2021}]
    make(toys, "toy", metrics=metrics, papers=papers, tags=["two-dimensional"], training={"recipe": "recipes/toy.yaml"})
    card = ModelCard(dgmcore.push("toy", "user/toy", dry_run=True).card)
    assert card.data.license == "cc0-1.0" and card.data.library_name == "dgmcore"
    assert set(card.data.tags) == {"dgmcore", "toy-shift", "two-dimensional"}
    assert card.data.eval_results[0].metric_value == 0.35
    for words in ("dgm sample hf://user/toy", "0.35 nats", "arxiv.org/abs/1", "recipes/toy.yaml", "samples.png"):
        assert words in card.text, words


def test_a_licence_that_the_hub_does_not_know_is_named(toys, hub):
    make(toys, "toy", license="Non-commercial, see LICENSE")
    card = ModelCard(dgmcore.push("toy", "user/toy", dry_run=True).card)
    assert card.data.license == "other" and card.data.license_name == "Non-commercial, see LICENSE"


def test_a_dry_run_sends_nothing(toy, hub):
    done = dgmcore.push("toy", "user/toy", dry_run=True)
    assert hub.requests == [] and done.commit is None
    assert set(done.files) == PUBLISHED and all(done.files.values())


def test_parts_come_with_the_model(toys, hub):
    make(toys, "left", 1.0)
    make(toys, "right", 2.0)
    same = {"license": "mit", "data": DATA, "samples_png": toys / "picture.png"}
    pair = build("toy-pair", {}, {"first": "left", "second": "right"})
    pair.save(toys / "registry" / "pair", name="pair", **same)
    outer = build("toy-pair", {}, {"first": "pair", "second": "left"})
    outer.save(toys / "registry" / "outer", name="outer", **same)
    expected = dgmcore.sample("outer", n=4)
    done = dgmcore.push("outer", "user/outer")
    parts = {f"parts/{n}/{f}" for n in ("left", "right", "pair") for f in ("model.yaml", "model.safetensors")}
    assert set(done.files) == PUBLISHED | parts
    # complete on its own: without the registry, and with misleading entries in it
    for name in ("outer", "pair", "left", "right"):
        make(toys, name, 99.0)
    model = dgmcore.load("hf://user/outer")
    assert torch.equal(dgmcore.sample(model, n=4), expected)
    assert model.parts["second"] is model.parts["first"].parts["first"], "one instance for an entry"


def test_a_refused_token(toy, hub, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    with pytest.raises(DgmError, match="refused the token"):
        dgmcore.push("toy", "user/toy")
    assert hub.repos == {}


def test_no_token(toy, hub, monkeypatch):
    monkeypatch.delenv("HF_TOKEN")
    with pytest.raises(DgmError, match="refused the token"):
        dgmcore.push("toy", "user/toy")
    assert hub.repos == {}


def test_somebody_elses_name(toy, hub):
    with pytest.raises(DgmError, match="does not let you write to stranger/toy"):
        dgmcore.push("toy", "stranger/toy")
    hub.add("stranger/toy", {"model.yaml": b"?"})
    with pytest.raises(DgmError, match="taken"):
        dgmcore.push("toy", "stranger/toy")
    assert hub.files("stranger/toy") == {"model.yaml": b"?"}


@pytest.mark.parametrize("there", [{"pytorch_model.bin": b"x"}, {"config.json": b"{}"}])
def test_a_repository_with_something_else_is_taken(toy, hub, there):
    hub.add("user/toy", there)
    with pytest.raises(DgmError, match="taken"):
        dgmcore.push("toy", "user/toy")
    assert hub.files("user/toy") == there


def test_another_model_does_not_overwrite(toys, toy, hub):
    make(toys, "other")
    dgmcore.push("toy", "user/toy")
    with pytest.raises(DgmError, match="holds toy, not other"):
        dgmcore.push("other", "user/toy")


@pytest.mark.parametrize(
    "fault",
    [
        Fault("cut", path="/api/models/.*/commit", method="POST"),
        Fault("cut", path="/api/repos/create", method="POST"),
        Fault("status", path="/api/models/.*/commit", method="POST", code=500),
        Fault("status", path="/api/models/.*/commit", method="POST", code=412),
        Fault("status", path="/lfs/", method="PUT", code=403),
        Fault("cut", path="/lfs/", method="PUT"),
        Fault("cut", path="objects/batch", method="POST"),
        Fault("cut", path="/preupload", method="POST"),
        Fault("cut", method="*"),
        Fault("status", path="/api/models", method="GET", code=503),
    ],
    ids=lambda f: f"{f.kind}-{f.path.strip('/').split('/')[-1]}-{f.code}",
)
def test_a_lost_connection_publishes_nothing(toy, hub, fault, monkeypatch):
    sleep = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: sleep(min(seconds, 0.02)))  # the client's own patience
    hub.faults.append(fault)
    with pytest.raises(DgmError) as caught:
        dgmcore.push("toy", "user/toy")
    assert "\n" not in caught.value.what + caught.value.hint
    assert set(hub.files("user/toy") if "user/toy" in hub.repos else ()) <= {".gitattributes"}
    hub.faults.clear()
    assert dgmcore.push("toy", "user/toy").changed


def test_broken_weights_are_not_published(toy, hub):
    (toy / "model.safetensors").write_bytes(b"nonsense")
    with pytest.raises(DgmError, match="not what its entry describes"):
        dgmcore.push("toy", "user/toy")
    assert hub.requests == []


def test_names_of_repositories(toy, hub):
    for repo in ("toy", "../toy", "user/../toy", "user/to--y", "-/-", "user/toy/more", ""):
        with pytest.raises(DgmError, match="no name of a Hub repository"):
            dgmcore.push("toy", repo, dry_run=True)


def test_an_entry_from_the_hub_can_be_published_again(toy, hub):
    dgmcore.push("toy", "user/toy")
    done = dgmcore.push("hf://user/toy", "user/copy")
    assert set(done.files) == PUBLISHED
    entry = read_entry(toy)
    copied = dgmcore.load("hf://user/copy").entry
    assert msgspec.structs.replace(copied, weights=entry.weights) == entry


def test_the_command(toy, hub):
    def dgm(*args):
        return subprocess.run([sys.executable, "-m", "dgmcore", *args], capture_output=True, text=True, env=os.environ)

    dry = dgm("push", "toy", "--repo", "user/toy", "--dry-run")
    assert dry.returncode == 0 and "model.safetensors" in dry.stdout and "license: cc0-1.0" in dry.stdout, dry.stderr
    done = dgm("push", "toy", "--repo", "user/toy")
    assert done.returncode == 0 and done.stdout == f"{hub.url}/user/toy\n", done.stderr
    hub.faults.append(Fault("status", method="*", code=401))
    failed = dgm("push", "toy", "--repo", "user/toy")
    assert failed.returncode == 1
    assert [line.split(":")[0] for line in failed.stderr.splitlines()] == ["error", "hint"], failed.stderr


# --- what must not be published ----------------------------------------------------------------------


@pytest.mark.parametrize("file", ["model.safetensors", "samples.png", "model.yaml"])
def test_links_out_of_the_folder_are_not_published(toy, hub, toys, file):
    private = toys / "private"
    (toy / file).rename(private)
    (toy / file).symlink_to(private)
    with pytest.raises(DgmError, match=f"{file} is a link out of its folder"):
        dgmcore.push("toy", "user/toy")
    assert hub.requests == []
    (toy / file).unlink()
    private.rename(toy / "inside")
    (toy / file).symlink_to("inside")
    assert dgmcore.push("toy", "user/toy", dry_run=True).files[file] > 0


def test_the_folder_of_a_part_is_no_link_out_either(toys, hub):
    make(toys, "left")
    pair = build("toy-pair", {}, {"first": "left", "second": "left"})
    folder = pair.save(toys / "pair", name="pair", license="mit", data=DATA, samples_png=toys / "picture.png")
    (folder / "parts").mkdir()
    (toys / "registry" / "left").rename(toys / "private")
    (folder / "parts" / "left").symlink_to(toys / "private")
    with pytest.raises(DgmError, match=r"parts/left/model\.yaml is a link out of its folder"):
        dgmcore.push(str(folder), "user/pair")
    assert hub.requests == []


def test_what_is_no_picture_is_not_published_as_one(toy, hub):
    (toy / "samples.png").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    with pytest.raises(DgmError, match=r"samples\.png is no PNG"):
        dgmcore.push("toy", "user/toy")
    assert hub.requests == []


def test_what_is_no_safetensors_is_not_published_as_weights(toy, hub):
    (toy / "model.safetensors").write_bytes(b"-----BEGIN PRIVATE KEY-----")
    entry = read_entry(toy)
    write_entry(
        msgspec.structs.replace(entry, weights=msgspec.structs.replace(entry.weights, sha256=None, size=None)), toy
    )
    with pytest.raises(DgmError, match="no valid safetensors file"):
        dgmcore.push("toy", "user/toy")
    assert hub.requests == []


def test_a_summary_is_a_paragraph_of_the_card(toys, hub):
    """No heading, fence, rule or list, which would show what follows as something else."""
    folder = make(toys, "toy")
    for odd in ("~~~", "# Use", "---", "- a", "1. a"):
        write_entry(msgspec.structs.replace(read_entry(folder), summary=odd), folder)
        card = ModelCard(dgmcore.push("toy", "user/toy", dry_run=True).card).text.strip()
        line = card.split("\n\n")[1]
        assert "\\" in line and line.replace("\\", "") == odd


def test_the_card_shows_text_as_text(toys, hub):
    evil = "<img src=x onerror=alert(1)> a|b `c` [d](javascript:e) \x1b[31m\u202e\nf"
    source = {"files": [evil, {"file": evil, "sha256": evil}], "notes": [f"(c) {evil}"], "url": evil, "license": evil}
    make(
        toys, "toy", license=evil, summary=evil, tags=[evil], papers=[{"title": evil, "url": "javascript:x"}],
        metrics=[{"name": evil, "value": 1.0, "unit": evil, "against": evil, "command": evil}],
        training={"recipe": evil, "hardware": evil, "source": source}, data={**DATA, "dataset": evil},
    )  # fmt: skip
    done = dgmcore.push("toy", "user/toy")
    card, licence = ModelCard(done.card), hub.files("user/toy")["LICENSE"].decode()
    assert card.data.license_name == evil.translate({0x1B: "?", 0x202E: "?", 10: " "}), "the metadata are YAML"
    for line in [*str(card).split("\n"), *licence.split("\n")]:
        assert line.isprintable(), line
    text = re.sub(r"`[^`\n]+`", "", card.text)
    assert "<img" not in text and not re.search(r"(?<!\\)\]\((?!samples.png|LICENSE)", text)
    tables = [line for line in card.text.split("\n") if line.startswith("| ")]
    for line in tables:
        assert len(re.split(r"(?<!\\)\|", line)) in (4, 7), line
