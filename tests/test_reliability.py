"""The rows of docs/reliability.md that no other test file shows: full and read-only disks, kill -9, all at once."""

from __future__ import annotations

import ast
import errno
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from hub_server import Fault
from installation import forget, listed
from test_hub_pull import blobs, publish

import dgmcore
from dgmcore import registry
from dgmcore.errors import DgmError, WeightsError
from dgmcore.files import atomic as files
from dgmcore.loading.load import build
from dgmcore.plugins import current
from dgmcore.sampling import draw as sampling

ROOT = Path(__file__).parent.parent
DATA = {"dataset": "moons", "event_shape": [2]}


def test_every_row_of_the_fault_matrix_is_a_test():
    rows = [r for r in (ROOT / "docs/reliability.md").read_text().splitlines() if r.startswith("| ") and "`tests/" in r]
    assert len(rows) >= 40
    for row in rows:
        places = re.findall(r"`(tests/\w+\.py)::(\w+)`", row)
        assert places and row.count("`tests/") == len(places), row
        for file, name in places:
            tree = ast.parse((ROOT / file).read_text())
            assert name in {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}, (file, name)


# --- full disks -------------------------------------------------------------------------------------


class Disk:
    """A folder for a megabyte: a file system of its own where we may mount one, else a limit on the size of files."""

    def __init__(self, folder: Path, kind: str):
        self.folder, self.kind, self.limits = folder, kind, resource.getrlimit(resource.RLIMIT_FSIZE)
        folder.mkdir()
        if kind == "tmpfs":
            done = _mount("-t", "tmpfs", "-o", "size=1m", "none", str(folder))
            if done is not None:
                pytest.skip(f"no file system can be mounted here: {done}")
        self.limit(2**20)

    def limit(self, size: int | None) -> None:
        """Lets files grow to a size, or without end, where that stands for the disk."""
        if self.kind == "limit":
            resource.setrlimit(resource.RLIMIT_FSIZE, self.limits if size is None else (size, self.limits[1]))

    def fill(self) -> None:
        """Leaves no byte."""
        self.limit(0)
        try:
            with (self.folder / "filling").open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(4096))
        except OSError as e:
            assert e.errno in (errno.ENOSPC, errno.EFBIG)

    def enlarge(self) -> None:
        """Makes room."""
        self.limit(None)
        (self.folder / "filling").unlink(missing_ok=True)
        if self.kind == "tmpfs":
            assert _mount("-o", "remount,size=64m", str(self.folder)) is None

    def close(self) -> None:
        self.limit(None)
        if self.kind == "tmpfs":
            subprocess.run(["umount", "--lazy", str(self.folder)], check=True)


def _mount(*args: str) -> str | None:
    """Mounts, or says why not."""
    try:
        done = subprocess.run(["mount", *args], capture_output=True, text=True)
    except OSError as e:
        return str(e)
    return done.stderr.strip() or "it failed" if done.returncode else None


@pytest.fixture(params=["tmpfs", "limit"])
def disk(request, tmp_path):
    if request.param == "tmpfs" and os.geteuid() != 0:
        pytest.skip("only root may mount a file system")
    disk = Disk(tmp_path / "disk", request.param)
    yield disk
    disk.close()


def hidden_files(folder: Path) -> list[str]:
    return [p.name for p in folder.rglob(".*")]


def test_a_full_disk_under_samples(disk):
    from toy_models import Ridge

    target = disk.folder / "x.npz"
    sampling.sample_to(target, Ridge(), 10)
    before = target.read_bytes()
    with pytest.raises(DgmError, match=r"No space left|File too large|GB free") as caught:
        sampling.sample_to(target, Ridge(), 1_000_000)
    assert "free some disk space" in caught.value.hint
    assert target.read_bytes() == before and hidden_files(disk.folder) == []
    disk.enlarge()
    sampling.sample_to(target, Ridge(), 1_000_000)


def test_a_full_disk_under_an_entry(disk, toys):
    folder, same = disk.folder / "toy", {"name": "toy", "license": "mit", "data": DATA}
    build("toy-shift", {"width": 10}).save(folder, **same)
    large = build("toy-shift", {"width": 500_000})
    with pytest.raises(DgmError, match="can't write"):
        large.save(folder, **same)
    assert dgmcore.load(folder).bulk.weight.shape == (2, 10) and hidden_files(disk.folder) == []
    disk.enlarge()
    large.save(folder, **same)
    assert dgmcore.load(folder).bulk.weight.shape == (2, 500_000)


def test_a_full_disk_under_a_pull(disk, toys, hub, monkeypatch):
    disk.limit(None)
    publish(hub, toys, width=500_000)
    disk.limit(2**20)
    monkeypatch.setenv("HF_HUB_CACHE", str(disk.folder / "hub"))
    with pytest.raises(DgmError, match="no space left for user/toy") as caught:
        dgmcore.pull("toy")
    assert "free some disk space" in caught.value.hint
    assert not [p for p in disk.folder.glob("hub/models--*/blobs/*") if p.suffix == ""], "nothing under its final name"
    disk.enlarge()
    assert dgmcore.pull("toy")[0].path.is_file()


def test_a_full_disk_under_a_training(disk, monkeypatch):
    monkeypatch.chdir(disk.folder)
    monkeypatch.setenv("DGM_PLUGINS", "train,eval,data")
    draw = np.random.default_rng(0)
    np.savez("x.npz", x_train=draw.integers(0, 256, (32, 8, 8), np.uint8), y_train=draw.integers(0, 10, 32))
    phase = {"phase": "classify", "batch_size": 8, "steps": 4}
    recipe = {"schema": 1, "name": "judge", "architecture": "classifier", "license": "mit", "phases": [phase]}
    recipe |= {"config": {"event_shape": [1, 8, 8], "channels": [8], "kernel": 3, "width": 2000}, "checkpoint_steps": 1}
    recipe |= {"data": {"dataset": "x.npz"}}
    with pytest.raises(DgmError, match=r"can't write|No space left|File too large"):
        dgmcore.train(recipe)
    assert not Path("runs/judge/registry").exists() and hidden_files(disk.folder) == []
    disk.enlarge()
    assert dgmcore.load(dgmcore.train(recipe, resume=True)).entry.training.steps == 4


def test_a_full_disk_under_the_index(disk, installation, monkeypatch):
    monkeypatch.setenv("DGM_PLUGINS", "")
    monkeypatch.setenv("XDG_CACHE_HOME", str(disk.folder))
    installation.entry("toy")
    disk.fill()
    assert [m["name"] for m in listed()] == ["toy"] and current.index().path is None
    disk.enlarge()
    forget()
    assert [m["name"] for m in listed()] == ["toy"] and current.index().path is not None


# --- read-only caches -------------------------------------------------------------------------------


@pytest.fixture
def frozen():
    """A function that makes a folder read-only, for root too."""
    made: list[tuple[Path, bool]] = []

    def freeze(folder: Path) -> None:
        root = os.geteuid() == 0
        if root:
            refused = _mount("--bind", str(folder), str(folder)) or _mount("-o", "remount,ro,bind", str(folder))
            if refused is not None:
                pytest.skip(f"root can write everywhere here: {refused}")
        else:
            for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
                place.chmod(0o555)
        made.append((folder, root))

    yield freeze
    for folder, root in made:
        if root:
            subprocess.run(["umount", "--lazy", str(folder)], check=True)
        else:
            for place in [folder, *(p for p in folder.rglob("*") if p.is_dir())]:
                place.chmod(0o755)


def test_a_read_only_cache(toys, hub, monkeypatch, frozen):
    """What is in the cache is used, what is not is compiled in memory, and a fetch says that it can't be stored."""
    publish(hub, toys, width=10)
    publish(hub, toys, "other", width=10)
    cache = toys / "cache"
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    dgmcore.pull("toy")
    expected = dgmcore.sample("toy", 3)
    for folder in (cache, toys / "hf"):
        frozen(folder)
    entry = registry.find("toy").entry
    registry.write_entry(entry, toys / "elsewhere" / "toy")
    assert torch.equal(dgmcore.sample("toy", 3), expected)
    forget()
    (toys / "registry" / "other" / "model.yaml").touch()
    assert {m["name"] for m in dgmcore.list_models()} >= {"toy", "other"} and current.index().path is None
    with pytest.raises(DgmError, match="can't write user/other") as caught:
        dgmcore.pull("other")
    assert "HF_HOME" in caught.value.hint


# --- kill -9 ----------------------------------------------------------------------------------------


def dgm(*args: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "dgmcore", *args]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_kill_9_during_a_push(toys, hub):
    """All files go into one commit: before its answer nothing is there, and the next push publishes."""
    model = build("toy-shift", {"width": 3})
    (toys / "p.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    model.save(toys / "registry" / "toy", name="toy", license="mit", data=DATA, samples_png=toys / "p.png")
    hub.faults.append(Fault("hang", path="/commit/", method="POST"))
    process = dgm("push", "toy", "--repo", "user/toy")
    deadline = time.monotonic() + 120
    while not any(method == "POST" and "/commit/" in path for method, path in hub.requests):
        assert time.monotonic() < deadline and process.poll() is None, process.communicate()
        time.sleep(0.02)
    process.kill()
    process.communicate()
    hub.faults.clear()
    assert "model.yaml" not in hub.files("user/toy")
    assert dgmcore.push("toy", "user/toy").changed
    assert dgmcore.load("hf://user/toy").shift.tolist() == [0, 0]


def test_kill_9_while_an_entry_is_written(toys):
    """A new entry is there whole or not at all; one that is replaced is the old, the new, or refused until it is."""
    same, choose = {"name": "toy", "license": "mit", "data": DATA}, random.Random(0)
    models = [build("toy-shift", {"width": 1000}) for _ in range(2)]
    for i, model in enumerate(models):
        torch.nn.init.constant_(model.shift, i)
    kills = 0
    for attempt in range(12):
        folder = toys / "made" / f"toy{attempt % 2 * attempt}"  # the same one again and again, and new ones
        pid = os.fork()
        if pid == 0:
            try:
                for i in range(10**6):
                    models[i % 2].save(folder, **same)
            finally:
                os._exit(1)
        time.sleep(choose.uniform(0.0, 0.1))
        os.kill(pid, signal.SIGKILL)
        kills += os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
        if folder.exists():
            try:
                assert dgmcore.load(folder).shift.tolist() in ([0, 0], [1, 1])
            except WeightsError as e:
                assert "not what its entry describes" in e.what
        models[1].save(folder, **same)
        assert dgmcore.load(folder).shift.tolist() == [1, 1]
        assert hidden_files(folder.parent) == []
    assert kills >= 8


# --- at once ----------------------------------------------------------------------------------------


def test_a_pull_during_a_sample(toys, hub):
    """Two commands want weights that nobody has: one download. And a model that is in use keeps its weights."""
    publish(hub, toys, width=300_000)
    hub.faults.append(Fault("slow", path="safetensors", delay=0.3))
    running = [dgm("pull", "toy"), dgm("sample", "toy", "--out", str(toys / "x.npz"))]
    said = [process.communicate(timeout=300) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    assert len(blobs(toys)) == 1
    model = dgmcore.load("toy")
    stream = sampling.stream(model, 64, batch_size=8)
    first = next(stream)
    blob = blobs(toys)[0]
    blob.write_bytes(b"damaged meanwhile")
    assert dgmcore.pull("toy")[0].size > 2_000_000, "fetched again"
    assert torch.equal(torch.cat([first, *stream]), dgmcore.sample("toy", 64, batch_size=8))


def test_two_runs_write_one_file(tmp_path):
    """The file is that of one of them, wholly."""
    target = tmp_path / "x.bin"
    with files.replacing(target) as one, files.replacing(target) as two:
        one.write(b"1" * 100_000)
        two.write(b"2" * 50_000)
        with files.replacing(target) as three:
            three.write(b"3" * 10)
        assert target.read_bytes() == b"3" * 10
    assert target.read_bytes() == b"1" * 100_000 and os.listdir(tmp_path) == ["x.bin"]


def test_a_half_written_checkpoint_is_none(tmp_path):
    """A run that was killed while it wrote a checkpoint goes on from the one before."""
    from dgm_train.loop import checkpoint
    from dgm_train.loop.progress import Progress

    saved = checkpoint.Checkpoint({"x": torch.zeros(3)}, Progress(phase=0, step=4))
    checkpoint.write(tmp_path / "00-000000004.safetensors", saved)
    (tmp_path / ".00-000000008.safetensors.123.tmp").write_bytes(b"half")
    last = checkpoint.last_checkpoint(tmp_path)
    assert last is not None and checkpoint.read(last).progress == saved.progress
