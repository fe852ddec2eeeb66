"""Training that stops before its end, and goes on."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from dgm_train.interrupt import asked_to_stop
from dgm_train.loop import checkpoint
from dgm_train.loop.checkpoint import last_checkpoint
from dgm_train.loop.stream import Stream
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from training_runs import log, recipe, weights

import dgmcore
from dgmcore.data import open_data
from dgmcore.data.arrays import Arrays
from dgmcore.data.spec import DataSpec
from dgmcore.data.view import View
from dgmcore.errors import TrainingError

pytestmark = pytest.mark.usefixtures("trainer", "here")


@pytest.mark.parametrize("what", ["nan_at", "explode_at", "poison_at"])
def test_a_lost_run_stops_with_the_last_good_checkpoint(what):
    bad = {"phase": "point", "steps": 30, "options": {what: 13}, "optimizer": {"name": "sgd", "lr": 0.01}}
    data = recipe(bad, checkpoint_steps=5)
    with pytest.raises(TrainingError, match=r"step 1[345] of point; the last good checkpoint is runs/blob/check") as e:
        dgmcore.train(data)
    assert "clip_norm" in e.value.hint
    last = last_checkpoint(Path("runs/blob/checkpoints"))
    assert last.name == "00-000000010.safetensors"
    assert all(t.isfinite().all() for t in load_file(last).values())
    assert not os.path.exists("runs/blob/registry")
    # it goes on from there with other options
    folder = dgmcore.train(data, resume=True, set={"phases": {"0": {"options": {what: None}}}})
    assert dgmcore.load(folder).entry.training.steps == 30


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_writes_a_checkpoint_and_resume_gives_the_same_weights(name):
    data = recipe({"phase": "play", "steps": 600, "ema": 0.9}, architecture="train-duo", data={"dataset": "moons"})
    whole = weights(dgmcore.train(data, runs="whole"))

    def interrupt():
        path = "runs/blob/log.jsonl"
        while not (os.path.exists(path) and os.path.getsize(path)):
            time.sleep(0.01)
        os.kill(os.getpid(), getattr(signal, name))

    threading.Thread(target=interrupt, daemon=True).start()
    with pytest.raises(TrainingError, match=r"stopped at step .*checkpoint written") as e:
        dgmcore.train(data)
    assert "--resume" in e.value.hint
    with pytest.raises(TrainingError, match="there is a run in runs/blob already"):
        dgmcore.train(data)
    resumed = weights(dgmcore.train(data, resume=True))
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    steps = [r["step"] for r in log()]
    assert steps == sorted(set(steps)), "no step is logged twice"


def test_a_finished_run_goes_on_if_its_budget_grows():
    short = weights(dgmcore.train(recipe({"steps": 4})))
    again = weights(dgmcore.train(recipe({"steps": 4}), resume=True))
    longer = weights(dgmcore.train(recipe({"steps": 9}), resume=True))
    whole = weights(dgmcore.train(recipe({"steps": 9}), runs="whole"))
    assert torch.equal(short["mean"], again["mean"]) and not torch.equal(short["mean"], longer["mean"])
    assert torch.equal(longer["mean"], whole["mean"])


def test_a_run_that_goes_on_keeps_its_recipe():
    dgmcore.train(recipe({}))
    with pytest.raises(TrainingError, match="another seed in its recipe"):
        dgmcore.train(recipe({}, seed=3), resume=True)
    os.truncate(last_checkpoint(Path("runs/blob/checkpoints")), 100)
    with pytest.raises(TrainingError, match=r"the checkpoint .* can't be read"):
        dgmcore.train(recipe({}), resume=True)


def test_two_processes_can_not_share_a_run(here):
    import fcntl

    (here / "runs/blob").mkdir(parents=True)
    with open(here / "runs/blob/lock", "w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(TrainingError, match="another process trains in runs/blob"):
            dgmcore.train(recipe({}))


def test_nohup_outlives_its_terminal():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with asked_to_stop() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not stop.is_set()
            os.kill(os.getpid(), signal.SIGTERM)
            assert stop.is_set()
    finally:
        signal.signal(signal.SIGHUP, before)


# --- going on with something changed -----------------------------------------------------------------


@pytest.fixture
def rows(here):
    """A run of five epochs of 1,000 rows."""
    np.save("x.npy", np.random.default_rng(0).normal(size=(1000, 2)).astype(np.float32))
    data = recipe({"steps": None, "epochs": 5, "batch_size": 100}, data={"dataset": "./x.npy"})
    assert dgmcore.load(dgmcore.train(data)).entry.training.steps == 50
    return data


def test_another_batch_size_counts_the_data_seen(rows):
    """Five epochs more of batches twice as large are 25 steps; the other way round they are 100."""
    double = {"phases": {"0": {"batch_size": 200, "epochs": 10}}}
    folder = dgmcore.train(rows, resume=True, set=double)
    assert dgmcore.load(folder).entry.training.steps == 75
    assert log()[-1]["step"] == 75 and log()[-1]["progress"] == pytest.approx(74 / 75)
    half = {"phases": {"0": {"batch_size": 50, "epochs": 15}}}
    assert dgmcore.load(dgmcore.train(rows, resume=True, set=half)).entry.training.steps == 175
    nothing_left = {"phases": {"0": {"batch_size": 1000, "epochs": 15}}}
    assert dgmcore.load(dgmcore.train(rows, resume=True, set=nothing_left)).entry.training.steps == 175


def test_an_entry_says_where_its_run_went_on_by_another_recipe(rows):
    def notes(**changes):
        return dgmcore.load(dgmcore.train(rows, resume=True, set={"phases": {"0": changes}})).entry.training.notes

    assert dgmcore.load("runs/blob/registry/blob").entry.training.notes is None
    assert notes() is None, "the same recipe is one leg"
    first = "went on at step 50 with other phases.0.clip_norm, phases.0.epochs"
    assert notes(epochs=6, clip_norm=1.0) == first
    assert notes(epochs=6, clip_norm=1.0) == first, "and is not forgotten"
    assert notes(epochs=7, optimizer={"lr": 0.01}) == (
        f"{first}; went on at step 60 with other phases.0.clip_norm, phases.0.epochs, phases.0.optimizer.lr"
    )


@given(old=st.integers(1, 40), new=st.integers(1, 40), k=st.integers(0, 200))
@settings(max_examples=60, deadline=None)
def test_the_rest_of_an_epoch_is_what_was_not_seen_of_it(old, new, k):
    data = View(Arrays("n", np.arange(97, dtype=np.float32)), DataSpec(dataset="n"))
    before, after = (Stream(data, size, seed=0, scope="s") for size in (old, new))
    epoch, done = divmod(k, before.per_epoch)
    seen = {x for i in range(done) for x in before.batch(epoch * before.per_epoch + i)[:, 0].tolist()}
    start = after.convert(k, old)
    assert after.convert(start, new) == start
    assert epoch * after.per_epoch <= start <= (epoch + 1) * after.per_epoch
    rest = [x for i in range(start, (epoch + 1) * after.per_epoch) for x in after.batch(i)[:, 0].tolist()]
    assert not seen & set(rest) and len(rest) > 97 - len(seen) - old - 2 * new


def test_endless_data_are_not_drawn_twice():
    stream = Stream(open_data("moons"), 8, seed=0, scope="s")
    assert stream.convert(50, 4) == 50


@pytest.mark.parametrize(
    ("changes", "what", "hint"),
    [
        ({"optimizer": {"name": "sgd"}}, "the optimiser adam, the recipe says sgd", "phases.0 back"),
        ({"optimizer": {"name": "adamw"}}, "the optimiser adam, the recipe says adamw", "phases.0 back"),
        ({"phase": "point", "options": {}}, "in its phase 0, fit, which is point", "phases.0.phase back"),
    ],
)
def test_another_optimiser_or_phase_is_an_error(rows, changes, what, hint):
    with pytest.raises(TrainingError, match=what) as e:
        dgmcore.train(rows, resume=True, set={"phases": {"0": {**changes, "epochs": 6}}})
    assert hint in e.value.hint and "\n" not in e.value.what + e.value.hint


@pytest.mark.parametrize("key", ["architecture", "config", "data", "seed", "init", "parts"])
def test_another_model_or_data_are_an_error(rows, key):
    changes = {
        "architecture": "train-duo",
        "config": {"width": 3},
        "data": {"limit": 500},
        "seed": 7,
        "init": "realnvp-moons",
        "parts": {"base": "realnvp-moons"},
    }
    with pytest.raises(TrainingError, match=f"another {key} in its recipe"):
        dgmcore.train(rows, resume=True, set={key: changes[key]})


def test_data_that_were_changed_are_an_error(rows):
    np.save("x.npy", np.zeros((900, 2), np.float32))
    with pytest.raises(TrainingError, match=r"had 1,000 data when the run began, and has 900 now"):
        dgmcore.train(rows, resume=True)


def test_momentum_that_begins_late_is_an_error():
    """RMSprop starts its momentum with the first step only."""
    rms = {"phase": "fit", "steps": 4, "optimizer": {"name": "rmsprop"}}
    dgmcore.train(recipe(rms))
    with pytest.raises(TrainingError, match="no momentum_buffer"):
        dgmcore.train(recipe({**rms, "steps": 6, "optimizer": {"name": "rmsprop", "momentum": 0.5}}), resume=True)
    dgmcore.train(recipe({**rms, "steps": 6, "optimizer": {"name": "rmsprop", "lr": 0.1, "eps": 1e-3}}), resume=True)


def test_a_checkpoint_without_its_recipe_says_what_does_not_fit():
    play = recipe({"phase": "play", "steps": 2}, architecture="train-duo", data={"dataset": "moons"})
    dgmcore.train(play)
    os.remove("runs/blob/recipe.json")
    with pytest.raises(TrainingError, match="of another model: generator"):
        dgmcore.train({**play, "config": {"width": 3}}, resume=True)
    with pytest.raises(TrainingError, match="which is mean in the recipe"):
        dgmcore.train({**play, "phases": [{"phase": "mean", "steps": 9}]}, resume=True)
    later = [play["phases"][0], {"phase": "mean", "steps": 1}]
    dgmcore.train({**play, "phases": later}, resume=True)
    with pytest.raises(TrainingError, match="had more phases"):
        dgmcore.train({**play, "phases": later[:1]}, resume=True)


def test_checkpoints_of_the_version_before_are_read(rows):
    """Those said nothing of batch sizes and optimisers."""
    last = last_checkpoint(Path("runs/blob/checkpoints"))
    saved = checkpoint.read(last)
    before = {"phase": 0, "step": 50, "position": 50, "seconds": 1.0, "best": None, "averages": None, "scaler": None}
    with safe_open(last, "pt") as file:
        assert set(before) < set(json.loads(file.metadata()["dgm"]))
    old = {"dgm": json.dumps({**before, "run": {"seconds": 0.0, "steps": 0, "averaged": {}}})}
    save_file(saved.tensors, last, metadata=old)
    longer = {"phases": {"0": {"epochs": 6}}}
    entry = dgmcore.load(dgmcore.train(rows, resume=True, set=longer)).entry
    assert entry.training.steps == 60 and entry.noise == 1, "the entry that goes on keeps its noise"
    longest = {"phases": {"0": {"epochs": 7}}}
    assert dgmcore.load(dgmcore.train(rows, resume=True, set=longest)).entry.noise == 1
