"""Xet storage, the Hub's default, with the real `hf_xet` and without it: headers, tokens, chunks and redirects."""

from __future__ import annotations

import hashlib
import os
import site
import subprocess
import sys
from pathlib import Path

import huggingface_hub
import pytest
import torch
from hub_server import Fault
from test_hub_pull import blobs, publish
from xet_storage import XetStorage

import dgmcore
from dgmcore.errors import WeightsError
from dgmcore.hub import fetch

pytest.importorskip("hf_xet")


@pytest.fixture
def stored(toys, hub, monkeypatch):
    """A Hub with Xet storage, and a toy whose weights are in it."""
    monkeypatch.setenv("HF_XET_CACHE", str(toys / "chunks"))
    with XetStorage() as hub.xet:
        publish(hub, toys)
        yield hub


def weights(hub) -> bytes:
    return hub.files("user/toy")["model.safetensors"]


def test_the_hub_offers_files_as_the_public_one_does(stored):
    """By a link to where tokens are, and a redirection to another host; there is no other header that leads there."""
    found = huggingface_hub.get_hf_file_metadata(huggingface_hub.hf_hub_url("user/toy", "model.safetensors"))
    assert found.xet_file_data.refresh_route == f"{stored.url}/api/models/user/toy/xet-read-token/{found.commit_hash}"
    assert found.etag == hashlib.sha256(weights(stored)).hexdigest() != found.xet_file_data.file_hash
    assert found.size == len(weights(stored))
    assert found.location.startswith(f"{stored.xet.url}/xet-bridge/")


def test_pull_from_xet_storage(stored, monkeypatch):
    counted = []
    meter = fetch._meter
    monkeypatch.setattr(fetch, "_meter", lambda *limits: meter(*limits[:-1], counted.append))
    (done,) = dgmcore.pull("toy")
    assert sum(counted) == done.size, "the bar has seen it"
    assert done.path.read_bytes() == weights(stored)
    assert any("xet-read-token" in path for _, path in stored.requests)
    assert ("GET", f"/user/toy/resolve/{done.path.parent.name}/model.safetensors") not in stored.requests
    asked = [path.split("/")[1:3] for _, path in stored.xet.requests]
    assert ["v1", "reconstructions"] in asked and "xet-bridge" not in {place for place, _ in asked}
    assert torch.isfinite(dgmcore.load("toy").bulk.weight).all()


def test_other_bytes_out_of_the_storage_are_refused(stored, toys):
    (xorb,) = stored.xet.xorbs
    data = stored.xet.xorbs[xorb].packed
    stored.xet.xorbs[xorb] = stored.xet.xorbs[xorb]._replace(packed=data[:1000] + bytes([data[1000] ^ 1]) + data[1001:])
    with pytest.raises(WeightsError, match="sha256"):
        dgmcore.pull("toy")
    assert blobs(toys) == []


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


def dgm(*args: str, python: tuple[str, ...] = ("-m", "dgmcore"), **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, *python, *args]
    return subprocess.run(command, capture_output=True, text=True, timeout=300, env=os.environ | more)


@pytest.fixture
def without_xet(tmp_path):
    """Arguments of Python for the command `dgm` where everything is installed that is here, save `hf_xet`."""
    farm = tmp_path / "site-packages"
    farm.mkdir()
    for path in map(Path, site.getsitepackages()):
        for installed in path.iterdir() if path.is_dir() else ():
            if not installed.name.startswith("hf_xet") and not (farm / installed.name).exists():
                (farm / installed.name).symlink_to(installed)
    start = f"import runpy, site; site.addsitedir({str(farm)!r}); runpy.run_module('dgmcore', run_name='__main__')"
    return "-S", "-c", start


@pytest.mark.parametrize("how", ["not installed", "switched off"])
def test_without_xet_the_file_comes_as_a_plain_one(stored, without_xet, how):
    more = {"python": without_xet} if how == "not installed" else {"HF_HUB_DISABLE_XET": "1"}
    done = dgm("pull", "toy", "--json", **more)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert {path.split("/")[1] for _, path in stored.xet.requests} == {"xet-bridge"}, "with no token for it"
    (blob,) = blobs(Path(os.environ["HF_HOME"]).parent)
    assert blob.read_bytes() == weights(stored)


@pytest.mark.parametrize("storage", ["http://127.0.0.1:9", "nonsense"])
def test_a_xet_storage_that_fails_is_one_error(stored, toys, storage):
    stored.xet.cas = storage
    failed = dgm("pull", "toy", HF_XET_CLIENT_RETRY_MAX_ATTEMPTS="1")
    assert failed.returncode == 1 and failed.stdout == ""
    error, hint = failed.stderr.splitlines()
    assert "user/toy/model.safetensors" in error and "HF_HUB_DISABLE_XET=1" in hint
    assert blobs(toys) == []


def test_push_to_a_hub_with_xet_storage(stored):
    """Weights travel by plain HTTP, as they were opened and verified, and come back from the storage."""
    done = dgmcore.push("toy", "user/copy")
    assert not any("xet-write-token" in path for _, path in stored.requests)
    stored.xet.requests.clear()
    dgmcore.load("hf://user/copy")
    assert [path for _, path in stored.xet.requests if path.startswith("/v1/reconstructions/")]
    assert not dgmcore.push("toy", "user/copy").changed, done


@pytest.mark.parametrize(
    "address", ["{}/token", "{}@evil.example", "http://127.0.0.1:9/token", "file:///etc/passwd", "/x"]
)
def test_the_token_of_the_user_goes_to_the_hub_only(stored, toys, address):
    """Where the client asks for access to the storage it shows the token, and the Hub says where that is."""
    elsewhere = XetStorage()
    with elsewhere:
        route = address.format(elsewhere.url)
        stored.faults.append(Fault("headers", method="*", headers={"Link": f'<{route}>; rel="xet-auth"'}))
        with pytest.raises(WeightsError, match=r"sends the token for user/toy/model\.safetensors elsewhere"):
            dgmcore.pull("toy")
    assert elsewhere.requests == [] and blobs(toys) == []
