"""Pulling through the real client from a Hub that misbehaves: a completed pull or one clear error."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from threading import Thread

import msgspec
import pytest
import torch
from hub_server import Fault
from huggingface_hub import constants
from installation import invoke

import dgmcore
from dgmcore.entry import HubFile, dump_entry, read_entry, write_entry
from dgmcore.errors import DgmError
from dgmcore.files import verify
from dgmcore.files.tensors import write_tensors
from dgmcore.hub import client, fetch
from dgmcore.hub import first_fetch as pins
from dgmcore.loading.load import build
from dgmcore.registry.find import find

DATA = {"dataset": "moons", "event_shape": [2]}


def publish(server, home: Path, name: str = "toy", *, width: int = 50_000, revision: str | None = None) -> Path:
    """Puts a toy's weights on the Hub and its entry, without weights, into the registry."""
    model = build("toy-shift", {"width": width})
    folder = model.save(home / "made" / name, name=name, license="cc0-1.0", data=DATA)
    weights = (folder / "model.safetensors").read_bytes()
    commit = server.add(f"user/{name}", {"model.safetensors": weights}, tag="v1")
    entry = read_entry(folder)
    place = HubFile(repo=f"user/{name}", revision=revision or commit)
    entry = msgspec.structs.replace(entry, weights=msgspec.structs.replace(entry.weights, hub=place))
    return write_entry(entry, home / "registry" / name).parent


def blobs(home: Path) -> list[Path]:
    """The bytes in the cache, and those of downloads that are not complete."""
    found = (home / "hf" / "hub").glob("models--*/blobs/**/*")
    return [p for p in found if p.is_file() and (p.parent.name == "blobs" or p.suffix == ".incomplete")]


@pytest.fixture
def published(toys, hub):
    publish(hub, toys)
    return hub


def test_pull_then_load_without_network(published, toys):
    (done,) = dgmcore.pull("toy")
    assert done.license == "cc0-1.0" and done.path.stat().st_size == done.size
    published.requests.clear()
    model = dgmcore.load("toy")
    assert published.requests == []
    assert torch.isfinite(model.bulk.weight).all()


def test_sample_fetches_what_is_missing(published):
    assert dgmcore.load("toy").bulk.weight.shape == (2, 50_000)


@pytest.mark.parametrize(
    "fault",
    [
        Fault("status", code=503, times=1),
        Fault("status", code=503, times=1, method="HEAD"),
        Fault("status", code=429, times=1, method="HEAD"),
        Fault("cut", after=1000, times=1),
        Fault("cut", after=0, times=1),
        Fault("flip", offset=5000, times=1),
        Fault("slow", delay=0.3),
        Fault("cut", times=1, method="HEAD"),
    ],
    ids=lambda f: f"{f.method}-{f.kind}-{f.code if f.kind == 'status' else f.after}",
)
def test_passing_faults_complete(published, toys, fault, monkeypatch):
    monkeypatch.setattr(time, "sleep", shortened(time.sleep))
    published.faults.append(fault)
    (done,) = dgmcore.pull("toy")
    verify.open_verified(done.path, done.size, find("toy").entry.weights.sha256).close()
    assert len(blobs(toys)) == 1


def shortened(sleep):
    return lambda seconds: sleep(min(seconds, 0.3) if seconds < 100 else seconds)


HEADER = (10**10).to_bytes(8, "little") + b"{}" + bytes(1000)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("status", code=503, method="*"), "answered 503"),
        (Fault("status", code=503), "answered 503"),
        (Fault("status", code=404, error="RepoNotFound", method="*"), "no repository user/toy"),
        (Fault("status", code=404, error="EntryNotFound", method="*"), "no file model.safetensors"),
        (Fault("status", code=401, method="*"), "no repository|refused access"),
        (Fault("status", code=403, method="*"), "refused access"),
        (Fault("status", code=403, error="GatedRepo", method="*"), "restricted"),
        (Fault("status", code=500), "answered 500"),
        (Fault("cut", after=1000), "no connection|incomplete"),
        (Fault("cut", method="*"), "no connection"),
        (Fault("flip", offset=5000), "sha256"),
        (Fault("replace", body=HEADER), "incomplete|bytes"),
        (Fault("hang", method="HEAD"), "in time"),
    ],
    ids=lambda f: f"{f.method}-{f.kind}-{f.code}" if isinstance(f, Fault) else None,
)
def test_lasting_faults_are_one_error(published, toys, fault, words, monkeypatch):
    monkeypatch.setattr(time, "sleep", shortened(time.sleep))
    published.faults.append(fault)
    with pytest.raises(DgmError, match=words) as caught:
        dgmcore.pull("toy")
    assert caught.value.exit_code == 1 and caught.value.hint
    assert "\n" not in caught.value.what + caught.value.hint
    assert blobs(toys) == []
    # and when the fault is over, the same command completes
    published.faults.clear()
    assert dgmcore.pull("toy")[0].path.is_file()


def craft(server, home, change) -> None:
    """Puts other weights on the Hub, and their true size and sha256 into the entry."""
    entry = find("toy").entry
    bad = home / "bad.safetensors"
    change(bad)
    stated = {"size": bad.stat().st_size, "sha256": verify.sha256_of(bad)}
    commit = server.add("user/toy", {"model.safetensors": bad.read_bytes()})
    weights = msgspec.structs.replace(entry.weights, **stated, hub=HubFile(repo="user/toy", revision=commit))
    write_entry(msgspec.structs.replace(entry, weights=weights), home / "registry" / "toy")


def test_a_huge_header_with_the_right_sha256_is_refused(published, toys):
    craft(published, toys, lambda path: path.write_bytes(HEADER))
    with pytest.raises(DgmError, match=r"claims 10,000,000,000 bytes"):
        dgmcore.pull("toy")
    assert blobs(toys) == []


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"shift": torch.zeros(3)}, r"shift has the shape \[3\], not \[2\]"),
        ({"shift": None}, "shift is missing"),
        ({"extra": torch.zeros(1)}, "extra is unknown"),
        ({"shift": torch.zeros(2, dtype=torch.float64)}, "shift is torch.float64, not torch.float32"),
    ],
)
def test_weights_that_do_not_fit_change_nothing(published, toys, state, words):
    good = build("toy-shift", {"width": 50_000}).own_state()
    merged = {k: v for k, v in {**good, **state}.items() if v is not None}
    craft(published, toys, lambda path: write_tensors(merged, path))
    with pytest.raises(DgmError, match=words):
        dgmcore.load("toy")


def test_a_wrong_size_is_refused_before_the_first_byte(published, toys):
    published.add("user/toy", {"model.safetensors": bytes(123_456)})
    with pytest.raises(DgmError, match="123,456 bytes on the Hub"):
        dgmcore.pull("toy", revision="main")
    assert ("GET", "/user/toy/resolve/main/model.safetensors") not in published.requests
    assert dgmcore.pull("toy", revision="v1")


def test_a_revision_that_is_not_there(published):
    with pytest.raises(DgmError, match="no revision nowhere"):
        dgmcore.pull("toy", revision="nowhere")


def test_a_flipped_byte_in_the_cache_is_noticed_and_fetched_again(published, toys):
    (done,) = dgmcore.pull("toy")
    blob = done.path.resolve()
    data = bytearray(blob.read_bytes())
    data[1000] ^= 1
    blob.write_bytes(data)
    assert dgmcore.pull("toy")[0].path.read_bytes() != bytes(data)


def test_offline_says_what_is_missing_and_how_to_get_it(published, toys, monkeypatch):
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    published.requests.clear()
    with pytest.raises(DgmError, match=r"user/toy/model.safetensors is not in the cache") as caught:
        dgmcore.load("toy")
    assert "dgm pull toy" in caught.value.hint
    assert published.requests == []
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    dgmcore.pull("toy")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert dgmcore.load("toy").entry.name == "toy"


def test_no_server_at_all(toys, hub, monkeypatch):
    publish(hub, toys)
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", "http://127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    )
    with pytest.raises(DgmError, match=r"no connection to http://127\.0\.0\.1:9"):
        dgmcore.pull("toy")


@pytest.mark.parametrize("address", ["ftp://x", "x", "http://", "http://h/?q", "//h", "http://h:abc", "http://h:65536"])
def test_what_is_no_address_of_a_hub_is_said(address):
    code = "import dgmcore; dgmcore.load('hf://user/toy')"
    given = {**os.environ, "HF_ENDPOINT": address}
    done = subprocess.run([sys.executable, "-c", code], env=given, capture_output=True, text=True, check=False)
    assert "UsageError: HF_ENDPOINT is no address of a Hub" in done.stderr, done.stderr


def test_a_password_of_the_hub_is_not_shown(toys, monkeypatch):
    monkeypatch.setattr(constants, "ENDPOINT", "http://me:secret@127.0.0.1:9")
    template = "http://me:secret@127.0.0.1:9/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)
    with pytest.raises(DgmError, match=r"no connection to http://\*\*\*@127\.0\.0\.1:9") as error:
        dgmcore.load("hf://user/toy")
    assert "secret" not in f"{error.value} {error.value.hint}"


def test_addresses_that_are_nearly_right():
    for name in ("https://huggingface.co/u/m", "HF://u/m", "hf:/u/m", "huggingface.co/u/m/", "u/m"):
        with pytest.raises(DgmError) as error:
            dgmcore.load(name.rstrip("/"))
        assert "hf://u/m" in error.value.hint, name
    with pytest.raises(DgmError, match="@ is no revision of u/m"):
        dgmcore.load("hf://u/m@")


def test_a_huge_entry_is_not_fetched(toys, hub):
    hub.add("user/big", {"model.yaml": bytes(2_000_000)})
    with pytest.raises(DgmError, match="an entry has at most"):
        dgmcore.load("hf://user/big")
    assert not any(method == "GET" for method, _ in hub.requests)
    hub.add("user/none", {"README.md": b"hello"})
    with pytest.raises(DgmError, match=r"holds no model\.yaml"):
        dgmcore.load("hf://user/none")


@pytest.mark.parametrize("skip", [0, 1], ids=["at once", "when asked again"])
@pytest.mark.parametrize("header", ["X-Linked-ETag", "X-Repo-Commit", "ETag"])
@pytest.mark.parametrize("name", ["toy", "hf://user/evil"])
def test_what_a_server_says_of_itself_becomes_no_path(published, toys, name, header, skip):
    """A Hub, or whoever stands between, that would have its bytes put where the next command runs them."""
    if (name, header) == ("toy", "ETag"):
        pytest.skip("of large files the other one counts")
    published.add("user/evil", {"model.yaml": b"import os\n"})
    (toys / "plugins").mkdir()
    file = f"model.{'safetensors' if name == 'toy' else 'yaml'}"
    for depth in range(1, 12):
        evil = "../" * depth + f"{toys.relative_to('/')}/plugins/evil.py"
        published.faults[:] = [Fault("headers", path=file, method="HEAD", headers={header: f'"{evil}"'}, skip=skip)]
        if skip == 0:
            with pytest.raises(DgmError, match="says of"):
                dgmcore.pull(name)
            assert not any(method == "GET" and "resolve" in path for method, path in published.requests)
        else:
            with suppress(DgmError):
                dgmcore.pull(name)
    assert list((toys / "plugins").iterdir()) == []
    assert not [p for p in toys.rglob("*") if "evil" in p.name and "user--evil" not in str(p)]


@pytest.mark.parametrize("file", ["model.yaml", "model.safetensors"])
def test_a_file_without_length_and_without_end_is_given_up(published, toys, file):
    published.add("user/big", {"model.yaml": b"x"})
    published.faults.append(Fault("endless", path=file, method="*"))
    with pytest.raises(DgmError, match="sends more of"):
        dgmcore.load("toy" if "safe" in file else "hf://user/big")
    assert [p for p in (toys / "hf").rglob("*") if p.is_file() and p.stat().st_size > 1000] == []


def test_a_header_without_end_is_given_up(toys, monkeypatch):
    """Each byte comes in time; the whole never does."""
    listener = socket.create_server(("127.0.0.1", 0))
    address = f"http://127.0.0.1:{listener.getsockname()[1]}"

    def serve():
        with suppress(OSError), listener.accept()[0] as connection:
            connection.sendall(b"HTTP/1.1 200 OK\r\n")
            while True:
                connection.sendall(b"X-A: 1\r\n")
                time.sleep(0.05)

    Thread(target=serve, daemon=True).start()
    monkeypatch.setattr(constants, "ENDPOINT", address)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", address + "/{repo_id}/resolve/{revision}/{filename}")
    monkeypatch.setattr(client, "ANSWER", 1.0)
    with listener, pytest.raises(DgmError, match="did not answer in time"):
        dgmcore.load("hf://user/slow")


def test_a_server_that_never_stops_is_stopped(published, toys):
    meter = fetch._meter("x", 100, time.monotonic() + 60, lambda n: None)()
    meter.update(100)
    with pytest.raises(DgmError, match="sends more"):
        for _ in range(20):
            meter.update(100_000)
    with pytest.raises(DgmError, match="would not end"):
        fetch._meter("x", 100, time.monotonic() - 1, lambda n: None)().update(1)


def test_a_cache_that_cant_be_written(published, toys):
    (toys / "hf").write_text("in the way")
    with pytest.raises(DgmError, match="can't write"):
        dgmcore.pull("toy")


def test_an_entry_without_sha256_is_not_fetched(published, toys):
    entry = find("toy").entry
    weights = msgspec.structs.replace(entry.weights, sha256=None)
    write_entry(msgspec.structs.replace(entry, weights=weights), toys / "registry" / "toy")
    with pytest.raises(DgmError, match="gives no sha256"):
        dgmcore.pull("toy")


# --- no sha256, but trust in what comes first (dgmcore/hub/first_fetch.py) ---------------------------


@pytest.fixture
def trusting(published, toys):
    """An entry that knows no sha256 and trusts the first fetch of a branch."""
    entry = find("toy").entry
    hub = msgspec.structs.replace(entry.weights.hub, revision="main", trust="first-fetch")
    weights = msgspec.structs.replace(entry.weights, sha256=None, size=None, hub=hub)
    write_entry(msgspec.structs.replace(entry, weights=weights), toys / "registry" / "toy")
    monkey = pytest.MonkeyPatch()  # records go to a folder of this test
    monkey.setattr("dgmcore.hub.first_fetch.user_data", lambda: toys / "data")
    yield published
    monkey.undo()


def records(home: Path) -> list[Path]:
    return list((home / "data" / "pins").glob("*"))


def test_the_first_fetch_is_recorded_and_holds(trusting, toys, capsys):
    (done,) = dgmcore.pull("toy")
    assert "recorded the sha256" in capsys.readouterr().err
    commit = trusting.repos["user/toy"].refs["main"]
    found = pins.find("user/toy", "model.safetensors", "main")
    assert found == pins.Pin(sha256=verify.sha256_of(done.path), commit=commit, size=done.size)
    trusting.add("user/toy", {"model.safetensors": b"other weights"})  # the branch moves on
    trusting.requests.clear()
    assert dgmcore.pull("toy") == [done] and trusting.requests == []
    assert dgmcore.list_models("toy")[0]["available"]
    for blob in blobs(toys):
        blob.unlink()
    assert dgmcore.pull("toy")[0].path.parent.name == commit, "fetched anew from the commit that was recorded"
    assert capsys.readouterr().err.count("recorded") == 0 and len(records(toys)) == 1


def test_another_file_than_the_first_is_refused(trusting, toys):
    (done,) = dgmcore.pull("toy")
    for blob in blobs(toys):
        blob.unlink()
    trusting.faults.append(Fault("flip", offset=5000))
    with pytest.raises(DgmError, match="is not what the entry toy describes: its sha256"):
        dgmcore.pull("toy")
    assert blobs(toys) == [] and not done.path.exists()


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (Fault("flip", offset=5000), "sha256"),
        (Fault("cut", after=1000), "no connection|incomplete"),
        (Fault("status", code=503, method="*"), "answered 503"),
        (Fault("status", code=404, error="EntryNotFound", method="*"), "no file"),
    ],
    ids=["flip", "cut", "503", "404"],
)
def test_a_first_fetch_that_fails_records_nothing(trusting, toys, fault, words, monkeypatch):
    monkeypatch.setattr(time, "sleep", shortened(time.sleep))
    trusting.faults.append(fault)
    with pytest.raises(DgmError, match=words):
        dgmcore.pull("toy")
    assert records(toys) == []
    trusting.faults.clear()
    assert dgmcore.pull("toy")[0].path.is_file() and len(records(toys)) == 1


def test_first_fetches_at_once_record_one(trusting, toys):
    with ThreadPoolExecutor(4) as pool:
        done = list(pool.map(lambda _: dgmcore.pull("toy"), range(4)))
    assert all(d == done[0] for d in done) and len(records(toys)) == 1


def test_a_record_that_is_damaged_or_cannot_be_written_is_an_error(trusting, toys, monkeypatch):
    (toys / "data").write_text("a file where the folder should be")
    with pytest.raises(DgmError, match="can't record what user/toy"):
        dgmcore.pull("toy")
    (toys / "data").unlink()
    dgmcore.pull("toy")
    records(toys)[0].write_text("{")
    with pytest.raises(DgmError, match="was when it was first fetched") as caught:
        dgmcore.load("toy")
    assert str(records(toys)[0]) in caught.value.hint
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    records(toys)[0].unlink()
    with pytest.raises(DgmError, match="was never fetched, and the network is off"):
        dgmcore.load("toy")


def test_all_goes_on_after_a_failure(published, toys):
    publish(published, toys, "other", width=10)
    published.faults.append(Fault("status", path="user/toy", code=404, error="RepoNotFound", method="*"))
    done = []
    with pytest.raises(DgmError, match=r"1 of 2 failed: toy: "):
        dgmcore.pull(["toy", "other"], report=done.append)
    assert [d.name for d in done] == ["other"] and done[0].path.is_file()
    assert not any("user/toy" in r[1] and r[0] == "GET" for r in published.requests)


# --- as commands -----------------------------------------------------------------------------------


def dgm(*args, **more):
    return subprocess.run(
        [sys.executable, "-m", "dgmcore", *args], capture_output=True, text=True, timeout=120, env=os.environ | more
    )


def test_commands_end_in_two_lines_and_exit_codes(published, toys):
    done = dgm("pull", "toy")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    assert "licence cc0-1.0" in done.stdout
    published.faults.append(Fault("status", code=503, method="*"))
    failed = dgm("pull", "toy", HF_HOME=str(toys / "elsewhere"))
    assert failed.returncode == 1 and failed.stdout == ""
    assert [line.split(":")[0] for line in failed.stderr.splitlines()] == ["error", "hint"], failed.stderr
    assert dgm("pull").returncode == 2


@pytest.mark.parametrize("json", [(), ("--json",)])
def test_a_command_says_what_was_pulled_and_names_each_that_failed(published, toys, json):
    for name in ("other", "third", "fourth"):
        publish(published, toys, name, width=10)
    for name, code, error in (("toy", 404, "RepoNotFound"), ("third", 403, "GatedRepo")):
        published.faults.append(Fault("status", path=f"user/{name}", code=code, error=error, method="*"))
    failed = dgm("pull", "--all", *json)
    assert failed.returncode == 1
    said = set(re.findall('"name": "(.*?)"' if json else "^([^:]+):", failed.stdout, re.M))
    assert {"fourth", "other"} <= said and not {"toy", "third"} & said
    what, hint = failed.stderr.splitlines()
    assert hint.startswith("hint: ")
    assert re.search(r"error: \d+ of \d+ failed: .*third: user/third is restricted; toy: there is no", what), what


def test_eight_pulls_at_once(toys, hub):
    publish(hub, toys, width=500_000)
    hub.faults.append(Fault("slow", path="safetensors", delay=0.3))
    with ThreadPoolExecutor(8) as pool:
        done = list(pool.map(lambda _: dgm("pull", "toy"), range(8)))
    assert [d.returncode for d in done] == [0] * 8, [d.stderr for d in done]
    assert len(blobs(toys)) == 1
    assert dgmcore.load("toy")


@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_pull_completes_when_repeated(toys, hub, sign):
    publish(hub, toys, width=500_000)
    hang = Fault("hang", path="safetensors")
    hub.faults.append(hang)
    process = subprocess.Popen([sys.executable, "-m", "dgmcore", "pull", "toy"], stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 20
    while not any(p.name.endswith(".incomplete") for p in blobs(toys)):
        assert time.monotonic() < deadline, "the download did not start"
        time.sleep(0.02)
    process.send_signal(sign)
    assert "Traceback" not in process.communicate(timeout=20)[1]
    hub.faults.clear()
    assert not any(p.suffix == "" for p in blobs(toys)), "nothing half-written under its final name"
    assert dgm("pull", "toy").returncode == 0
    assert [p.suffix for p in blobs(toys)] == [""], "what was left behind is gone"


# --- models that live on the Hub ---------------------------------------------------------------------


@pytest.fixture
def shared(toys, hub):
    """A model of the Hub, fetched and loaded once: its weights as they should be."""
    folder = publish(hub, toys)
    entry = read_entry(folder)
    entry = msgspec.structs.replace(entry, weights=msgspec.structs.replace(entry.weights, hub=None))
    hub.add("user/toy", {"model.yaml": dump_entry(entry)})
    dgmcore.load("hf://user/toy")
    return hub


def in_cache(home: Path, file: str) -> Path:
    (found,) = (home / "hf" / "hub").glob(f"models--user--toy/snapshots/*/{file}")
    return found


@pytest.mark.parametrize("times", [1, None])
def test_an_entry_that_is_not_what_its_etag_says_is_asked_for_again(shared, toys, times):
    """On its way something was changed: one byte, or all of it that matters."""
    path = in_cache(toys, "model.yaml")
    good = path.read_bytes()
    evil = good.replace(b"name: toy", b"name: tpy")
    shutil.rmtree(toys / "hf")
    shared.faults.append(Fault("replace", path="yaml", body=evil, times=times))
    if times == 1:
        assert find("hf://user/toy").entry.name == "toy"
        return
    with pytest.raises(DgmError, match="came incomplete or damaged"):
        find("hf://user/toy")
    assert blobs(toys) == []


def test_damage_of_an_entry_is_noticed_also_where_its_commit_alone_was_asked_for(shared, toys):
    commit = in_cache(toys, "model.yaml").parent.name
    shutil.rmtree(toys / "hf")
    blob = (find(f"hf://user/toy@{commit}").folder / "model.yaml").resolve()
    blob.write_bytes(blob.read_bytes().replace(b"name: toy", b"name: tpy"))
    assert find("hf://user/toy").entry.name == "toy"


def test_damage_that_can_not_be_removed_is_not_taken_for_a_download(published, toys, monkeypatch):
    (done,) = dgmcore.pull("toy")
    blob = done.path.resolve()
    blob.write_bytes(blob.read_bytes()[:-1] + b"!")
    monkeypatch.setattr("dgmcore.hub.fetch.discard", lambda path: None)
    for _ in range(2):
        with pytest.raises(DgmError, match="is not what the entry toy describes: its sha256"):
            dgmcore.load("toy")


@pytest.mark.parametrize("file", ["model.safetensors", "model.yaml"])
def test_a_flipped_byte_of_a_hub_model_is_found_and_fetched_again_once(shared, toys, file):
    path = in_cache(toys, file)
    good, blob = path.read_bytes(), path.resolve()
    blob.write_bytes(good[:30] + bytes([good[30] ^ 1]) + good[31:])
    shared.requests.clear()
    dgmcore.load("hf://user/toy")
    assert path.read_bytes() == good
    assert [p.rpartition("/")[2] for method, p in shared.requests if method == "GET" and "resolve" in p] == [file]


def composed(shared, toys, parts: dict[str, str]) -> bytes:
    """Returns the entry of a pair with these parts."""
    entry = read_entry(in_cache(toys, "model.yaml"))
    return dump_entry(msgspec.structs.replace(entry, name="pair", architecture="toy-pair", config={}, parts=parts))


@pytest.mark.parametrize("part", ["/etc", "./near", "hf://user/toy", "core/realnvp-moons", "../up"])
def test_entries_of_the_hub_name_bare_names_only(shared, toys, part):
    inner = {"parts/inner/model.yaml": composed(shared, toys, {"first": "toy", "second": part})}
    shared.add("user/pair", {"model.yaml": composed(shared, toys, {"first": "left", "second": "inner"}), **inner})
    for call in (dgmcore.load, dgmcore.pull, find):
        with pytest.raises(DgmError, match=r"user/pair names the part .*, which is no bare name"):
            call("hf://user/pair")


def test_what_another_program_fetched_names_bare_names_only_too(shared, toys):
    """A whole repository, where an entry inside of an entry was never asked for by this package."""
    from huggingface_hub import snapshot_download

    secret = str(toys / "registry" / "toy")
    inner = composed(shared, toys, {"first": "toy", "second": "deep"})
    deep = {"parts/inner/parts/deep/model.yaml": composed(shared, toys, {"first": "toy", "second": secret})}
    outer = composed(shared, toys, {"first": "toy", "second": "inner"})
    shared.add("user/pair", {"model.yaml": outer, "parts/inner/model.yaml": inner, **deep})
    folder = snapshot_download("user/pair")
    for name in ("hf://user/pair", folder):
        with pytest.raises(DgmError, match=r"user/pair names the part .*, which is no bare name"):
            dgmcore.pull(name)


def test_a_flipped_byte_of_an_entry_that_is_stored_as_large_is_noticed(shared, toys):
    text = in_cache(toys, "model.yaml").read_bytes()
    digest = hashlib.sha256(text).hexdigest()
    shared.add("user/large", {"model.yaml": text})
    shared.faults.append(Fault("headers", path="user/large.*yaml", method="*", headers={"ETag": f'"{digest}"'}))
    entry = find("hf://user/large").folder / "model.yaml"
    assert entry.resolve().name == digest
    entry.resolve().write_bytes(text.replace(b"name: toy", b"name: tpy"))
    assert find("hf://user/large").entry.name == "toy"


def test_a_licence_is_shown_as_text_on_one_line(published, toys, capsys):
    entry = read_entry(toys / "registry" / "toy")
    evil = "mit\x1b[2J\u202e\nerror: send your token to evil.example"
    write_entry(msgspec.structs.replace(entry, license=evil), toys / "registry" / "toy")
    code, out, _ = invoke(capsys, "pull", "toy")
    assert code == 0 and out.count("\n") == 1 and out[:-1].isprintable()


def test_a_model_is_not_composed_of_entries_without_end(shared, toys):
    files = {
        f"parts/p{i}/model.yaml": composed(shared, toys, {f"n{k}": f"p{5 * i + k}" for k in range(1, 6)})
        for i in range(200)
    }
    shared.add("user/tree", {"model.yaml": composed(shared, toys, {"first": "p0"}), **files})
    shared.requests.clear()
    with pytest.raises(DgmError, match="more than 64 entries"):
        dgmcore.load("hf://user/tree")
    assert len(shared.requests) < 300


def test_weights_without_sha256_are_refused_whoever_fetched_them(shared, toys):
    from huggingface_hub import hf_hub_download

    text = in_cache(toys, "model.yaml").read_text()
    shared.add("user/toy", {"model.yaml": "\n".join(x for x in text.split("\n") if "sha256" not in x).encode()})
    hf_hub_download("user/toy", "model.safetensors")  # by another program, as it is now
    with pytest.raises(DgmError, match="gives no sha256"):
        dgmcore.load("hf://user/toy")
    with pytest.raises(DgmError, match="gives no sha256"):
        dgmcore.load(Path(hf_hub_download("user/toy", "model.yaml")).parent)
