"""Pulling from Xet storage, the Hub's default: with the real `hf_xet`, from a store in a folder."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_hub_pull import blobs, publish

import dgmcore
from dgmcore.hub import fetch

pytest.importorskip("hf_xet")


@pytest.fixture
def stored(toys, hub, monkeypatch):
    """A toy whose weights are in Xet storage alone: plain downloads of them fail."""
    hub.xet = f"local://{toys}/xet"
    publish(hub, toys)
    monkeypatch.setenv("HF_XET_CACHE", str(toys / "chunks"))
    return hub


def test_pull_from_xet_storage(stored, toys, monkeypatch):
    counted = []
    meter = fetch.Meter.__call__
    monkeypatch.setattr(fetch.Meter, "__call__", lambda self, n: counted.append(n) or meter(self, n))
    (done,) = dgmcore.pull("toy")
    assert sum(counted) == done.size, "the bar has seen it"
    assert any("xet-read-token" in path for _, path in stored.requests)
    assert ("GET", f"/user/toy/resolve/{done.path.parent.name}/model.safetensors") not in stored.requests
    assert torch.isfinite(dgmcore.load("toy").bulk.weight).all()


def test_a_flipped_byte_of_what_came_from_xet_is_noticed_and_fetched_again(stored, toys):
    (done,) = dgmcore.pull("toy")
    good = done.path.read_bytes()
    blob = done.path.resolve()
    blob.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    assert dgmcore.pull("toy")[0].path.read_bytes() == good


def test_a_flipped_byte_in_the_store_that_repositories_share_is_noticed_too(stored, toys, monkeypatch):
    """What the client itself fetched lies in `blobs/42/HASH`, and links lead there."""
    from huggingface_hub import constants, hf_hub_download

    monkeypatch.setattr(constants, "HF_HUB_DISABLE_SHARED_BLOBS", False)
    commit = stored.repos["user/toy"].refs["main"]
    path = Path(hf_hub_download("user/toy", "model.safetensors", revision=commit))
    shared = path.resolve()
    assert shared.parent.parent == toys / "hf" / "hub" / "blobs"
    good = path.read_bytes()
    stored.requests.clear()
    assert dgmcore.pull("toy")[0].path == path and stored.requests == [], "it is used as it is"
    shared.chmod(0o644)
    shared.write_bytes(good[:1000] + bytes([good[1000] ^ 1]) + good[1001:])
    assert dgmcore.pull("toy")[0].path.read_bytes() == good
    assert not shared.exists() and len(blobs(toys)) == 1


def dgm(*args: str, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dgmcore", *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | more)


def test_without_xet_the_file_comes_as_a_plain_one(stored):
    done = dgm("pull", "toy", HF_HUB_DISABLE_XET="1")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert any(method == "GET" and path.endswith("model.safetensors") for method, path in stored.requests)


@pytest.mark.parametrize("storage", ["http://127.0.0.1:9", "nonsense"])
def test_a_xet_storage_that_fails_is_one_error(toys, hub, storage):
    hub.xet = storage
    publish(hub, toys)
    failed = dgm("pull", "toy", HF_XET_CLIENT_RETRY_MAX_ATTEMPTS="1")
    assert failed.returncode == 1 and failed.stdout == ""
    error, hint = failed.stderr.splitlines()
    assert "user/toy/model.safetensors" in error and "HF_HUB_DISABLE_XET=1" in hint
    assert blobs(toys) == []
