"""Training in processes that are killed, and in several at once."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path

import pytest
import training_models
from dgm_train.parallel import group
from safetensors.torch import load_file

import dgmcore
from dgmcore.errors import DgmError, UsageError

JOINED = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29500"}

PLAY = {
    "schema": 1,
    "name": "duo",
    "architecture": "train-duo",
    "data": {"dataset": "moons"},
    "phases": [
        {"phase": "mean", "batch_size": 32, "steps": 20, "optimizer": {"name": "adamax", "lr": 0.01}, "clip_norm": 1.0},
        {
            "phase": "play",
            "batch_size": 32,
            "steps": 70,
            "ema": 0.9,
            "ema_from": 10,
            "schedule": {"name": "cosine", "warmup": 10},
            "optimizers": {"generator": {"name": "adam", "betas": [0.5, 0.9]}, "critic": {"name": "rmsprop"}},
        },
    ],
    "license": "CC0-1.0",
    "threads": 1,
    "checkpoint_steps": 4,
}


def go(recipe, runs):
    dgmcore.train(recipe, runs=runs, resume=True)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    with training_models.user(tmp_path_factory.mktemp("home"), OMP_NUM_THREADS="1") as home:
        yield home


@pytest.fixture(scope="module")
def context(home):
    """Starts processes that have torch imported already: a kill then falls into training, not into imports."""
    context = multiprocessing.get_context("forkserver")
    slow = ["torch._dynamo", "accelerate", "torch.utils.tensorboard", "dgm_train.engine", "dgmcore.sampling.pictures"]
    context.set_forkserver_preload(slow)
    return context


def digest(runs: Path) -> str:
    return hashlib.sha256((runs / "duo/registry/duo/model.safetensors").read_bytes()).hexdigest()


def run(context, runs: Path) -> None:
    process = context.Process(target=go, args=(PLAY, str(runs)))
    process.start()
    process.join()
    assert process.exitcode == 0


def test_kill_9_at_ten_moments_changes_nothing(context, tmp_path):
    run(context, tmp_path / "whole")
    choose = random.Random(0)
    checkpoints = tmp_path / "killed/duo/checkpoints"
    places, kills = set(), 0
    for _ in range(10):
        process = context.Process(target=go, args=(PLAY, str(tmp_path / "killed")))
        process.start()
        seen, more = len(places), choose.randrange(4)  # after so many more checkpoints
        while process.is_alive() and len(places) < seen + more:
            places |= {p.name for p in checkpoints.glob("[0-9]*.safetensors")}
            time.sleep(0.002)
        process.join(choose.uniform(0, 0.1 if more else 0.5))  # and at any moment
        if process.is_alive():
            os.kill(process.pid, signal.SIGKILL)
            kills += 1
        process.join()
    run(context, tmp_path / "killed")
    # a fast machine may end the run before the last kills
    assert kills >= 4 and len(places) > 3, "the kills fell into training"
    assert digest(tmp_path / "killed") == digest(tmp_path / "whole")
    folder = tmp_path / "killed/duo"
    assert len(list((folder / "checkpoints").iterdir())) == 1, "only the last checkpoint is kept, and no litter"
    steps = [(r["part"], r["step"]) for r in map(json.loads, (folder / "log.jsonl").read_text().splitlines())]
    assert steps == sorted(set(steps))


def test_two_gloo_processes_train_one_model(home, context, tmp_path):
    """Without noise, dropout or running statistics, two processes give what one gives."""
    mean = {**PLAY["phases"][0], "steps": 12, "ema": 0.5}
    one = {**PLAY, "phases": [mean], "checkpoint_steps": None}
    (tmp_path / "duo.yaml").write_text(json.dumps(one))
    process = context.Process(target=go, args=(one, str(tmp_path / "one")))
    process.start()
    # the recipe's second phase has several optimisers, second derivatives and state: it must run, and be resumed
    (tmp_path / "both.yaml").write_text(
        json.dumps({**one, "name": "both", "phases": [mean, {**PLAY["phases"][1], "steps": 6, "ema_from": 2}]})
    )
    script = tmp_path / "both.py"
    script.write_text(
        "import sys, dgmcore\n"
        "dgmcore.train('duo.yaml', runs='two')\n"
        "dgmcore.train('both.yaml', runs='two', set=['phases.1.steps=3'])\n"
        "dgmcore.train('both.yaml', runs='two', resume=True)\n"
        "dgmcore.train('both.yaml', runs='whole')\n"
    )
    launch = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    launch += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    done = subprocess.run([*launch, str(script)], cwd=tmp_path, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    process.join()
    folder = tmp_path / "two/duo"
    a = load_file(tmp_path / "one/duo/registry/duo/model.safetensors")
    b = load_file(folder / "registry/duo/model.safetensors")
    for name in a:
        assert (a[name] - b[name]).abs().max() < 1e-5, name
    assert "x 2" in (folder / "registry/duo/model.yaml").read_text()
    a, b = (load_file(tmp_path / runs / "both/registry/both/model.safetensors") for runs in ("two", "whole"))
    for name in a:
        assert (a[name] - b[name]).abs().max() < 1e-5, name
    names = sorted(p.name for p in (tmp_path / "two/both/checkpoints").iterdir())
    assert names == ["01-000000006.rank1.safetensors", "01-000000006.safetensors"]


@pytest.mark.parametrize(
    "settings",
    [
        {"WORLD_SIZE": "abc"},
        {"RANK": "0", "WORLD_SIZE": "2"},
        {"RANK": "3"},
        {**JOINED, "MASTER_PORT": "99999"},
        {**JOINED, "LOCAL_RANK": "q"},
    ],
)
def test_settings_of_no_launcher_are_an_error(home, monkeypatch, settings):
    for name, value in settings.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(UsageError) as caught:
        dgmcore.train(PLAY)
    assert "unset RANK" in caught.value.hint and not Path("runs/duo/checkpoints").exists()


def test_nobody_trains_while_a_process_is_missing(home, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    for name, value in {**JOINED, "LOCAL_RANK": "0", "MASTER_PORT": port}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(group, "JOIN", timedelta(seconds=1))
    with pytest.raises(DgmError, match="process 0 has not met the 1 others") as caught:
        dgmcore.train(PLAY)
    assert "within two minutes" in caught.value.hint and not Path("runs/duo/checkpoints").exists()
