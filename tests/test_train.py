"""Training from outside: recipes in, entries and logs out."""

from __future__ import annotations

import json
import math
import os
import signal
import time

import numpy as np
import pytest
import torch
from dgm_train.build import build_model
from dgm_train.loop.optimizers import flatten_state, make_optimizer, restore_state
from dgm_train.loop.schedule import learning_rate
from dgm_train.recipe import Optimizer, Schedule, read_recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from training_runs import BLOB, log, recipe, weights

import dgmcore
from dgmcore.entry import read_entry
from dgmcore.errors import TrainingError

pytestmark = pytest.mark.usefixtures("trainer", "here")


# --- a run and what it leaves ---------------------------------------------------------------------


def test_a_run_becomes_an_entry(here):
    data = recipe({"steps": 100, "ema": 0.9}, samples_every=50, papers=[{"title": "T"}], tags=["toy"], summary="S")
    folder = dgmcore.train(data)
    assert folder.resolve() == here / "runs/blob/registry/blob"
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "model.yaml", "samples.png"]
    model = dgmcore.load(folder)
    assert not model.training
    entry = model.entry
    assert (entry.data.dataset, entry.data.event_shape, entry.data.range) == ("25gaussians", (2,), None)
    assert entry.weights.ema and entry.training.steps == 100 and entry.training.seed == 0 and entry.training.hardware
    made = entry.training.made
    assert len(made["recipe_sha256"]) == 64 and made["versions"]["dgmcore"]
    assert "data_sha256" not in made, "endless data"
    assert entry.noise == 2 and dgmcore.load(folder).noise_version == 2
    assert entry.summary == "S" and entry.tags == ("toy",) and entry.papers[0].title == "T"
    # the fit of one Gaussian to the grid: mean 0, variance 2 + std^2
    assert model.mean.abs().max() < 0.25
    assert (model.log_std.exp() - math.sqrt(2 + 0.0839**2)).abs().max() < 0.2
    assert sorted(p.name for p in (here / "runs/blob/samples").iterdir()) == ["00-000000050.png", "00-000000100.png"]
    assert list((here / "runs/blob/tensorboard").iterdir())
    records = log()
    assert [r["step"] for r in records if "loss" in r][-1] == 100
    assert all({"phase", "step", "seconds", "loss", "lr"} <= set(r) for r in records)
    assert records[-1]["loss"] < records[0]["loss"]


def test_a_training_says_of_which_data_it_was_made(here):
    x = np.random.default_rng(0).normal(size=(80, 2)).astype(np.float32)
    digests = []
    for change in (0, 0, 1):
        x[30, 0] += change
        np.save(here / "x.npy", x)
        data = recipe({"steps": 2}, data={"dataset": "./x.npy"})
        made = dgmcore.info(str(dgmcore.train(data, runs=here / f"runs{len(digests)}")))["training"]["made"]
        digests.append((made["data_sha256"], made["recipe_sha256"]))
        assert made["data_hashed"] == "80 of 80"
    assert digests[0] == digests[1] and digests[1][0] != digests[2][0] and digests[1][1] == digests[2][1]


def test_out_receives_entries_only(here):
    folder = dgmcore.train(recipe({}), out=here / "zoo")
    assert folder == here / "zoo/blob"
    assert [p.name for p in (here / "zoo").iterdir()] == ["blob"]
    assert not (here / "runs/blob/registry").exists()


def test_weights_are_a_function_of_the_seed(here):
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = weights(dgmcore.train(recipe({}), runs=here / "a"))
    assert torch.equal(before, torch.get_rng_state()), "the caller's random state is left alone"
    torch.manual_seed(2)
    again = weights(dgmcore.train(recipe({}), runs=here / "b"))
    other = weights(dgmcore.train(recipe({}, seed=1), runs=here / "c"))
    assert all(torch.equal(first[k], again[k]) for k in first)
    assert not torch.equal(first["mean"], other["mean"])


def test_a_file_and_overrides(here):
    (here / "recipes").mkdir()
    (here / "recipes/blob.yaml").write_text(json.dumps(BLOB))
    folder = dgmcore.train("recipes/blob.yaml", set=["phases.0.steps=3", "seed=4", "phases.0.optimizer.lr=0.1"])
    training = dgmcore.load(folder).entry.training
    assert (training.recipe, training.steps, training.seed) == ("recipes/blob.yaml", 3, 4)
    assert log()[0]["lr"] == 0.1


def test_threads_and_signals_are_given_back():
    handler, threads = signal.getsignal(signal.SIGTERM), torch.get_num_threads()
    dgmcore.train(recipe({}, threads=1))
    assert signal.getsignal(signal.SIGTERM) is handler and torch.get_num_threads() == threads


def test_budgets(here):
    np.save("x.npy", np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32))
    data = {"dataset": "./x.npy"}
    epochs = {"steps": None, "epochs": 2.5, "batch_size": 10}
    assert dgmcore.load(dgmcore.train(recipe(epochs, data=data, name="e"))).entry.training.steps == 25
    minutes = {"steps": None, "minutes": 0.01, "schedule": {"name": "linear", "final": 0.0}}
    started = time.monotonic()
    dgmcore.train(recipe(minutes, name="m"))
    assert 0.5 < time.monotonic() - started < 30
    last = log("m")[-1]
    assert 0.6 <= last["seconds"] < 3 and last["lr"] < 0.05 and last["progress"] > 0.5


# --- averages, clipping, precision ----------------------------------------------------------------


def test_ema_is_the_average_of_the_weights():
    path = {"phase": "point", "options": {"to": 1.0}, "optimizer": {"name": "sgd", "lr": 0.1}, "steps": 6}
    raw = []
    for steps in range(1, 7):
        raw.append(weights(dgmcore.train(recipe({**path, "steps": steps}), runs=f"r{steps}"))["mean"])
    average = raw[2]  # averaged from step 2 on
    for mean in raw[3:]:
        average = 0.8 * average + 0.2 * mean
    folder = dgmcore.train(recipe({**path, "ema": 0.8, "ema_from": 2}))
    torch.testing.assert_close(weights(folder)["mean"], average)
    assert dgmcore.load(folder).entry.weights.ema


@pytest.mark.parametrize("budget", [{"steps": None, "minutes": 1e-4}, {"steps": 8}])  # the latter: a trial by --set
def test_an_average_that_never_began_is_said(budget, capsys):
    folder = dgmcore.train(recipe({**budget, "ema": 0.9, "ema_from": 10**6}))
    assert "did not reach step 1000000" in capsys.readouterr().err
    assert not dgmcore.load(folder).entry.weights.ema


def test_a_step_of_gradient_descent_is_clipped():
    sgd = {"phase": "point", "options": {"to": 100.0}, "optimizer": {"name": "sgd", "lr": 1.0}}
    start = build_model(read_recipe(recipe(sgd))).mean.detach()
    value = weights(dgmcore.train(recipe({**sgd, "steps": 1, "clip_value": 0.5}), runs="b"))["mean"]
    norm = weights(dgmcore.train(recipe({**sgd, "steps": 1, "clip_norm": 0.5}), runs="c"))["mean"]
    torch.testing.assert_close(value - start, torch.full((2,), 0.5))
    torch.testing.assert_close((norm - start).norm(), torch.tensor(0.5))


@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_reduced_precision_trains_two_optimisers(precision):
    play = {"phase": "play", "batch_size": 32, "steps": 3, "precision": precision, "ema": 0.5}
    folder = dgmcore.train(recipe(play, architecture="train-duo", data={"dataset": "moons"}))
    assert all(t.dtype in (torch.float32, torch.int64) and t.isfinite().all() for t in weights(folder).values())


@pytest.mark.parametrize("name", ["adam", "adamw", "adamax", "rmsprop", "sgd"])
def test_optimisers_follow_torch_and_come_back(name):
    kind = {"adam": "Adam", "adamw": "AdamW", "adamax": "Adamax", "rmsprop": "RMSprop", "sgd": "SGD"}[name]
    spec = Optimizer(name=name, lr=0.1, momentum=0.5 if name in ("rmsprop", "sgd") else None)
    mine, theirs, resumed = (torch.nn.Parameter(torch.ones(3, 4)) for _ in range(3))
    a = make_optimizer(spec, [mine])
    extra = {"momentum": 0.5} if spec.momentum else {}
    b = getattr(torch.optim, kind)([theirs], lr=0.1, weight_decay=0.0, **extra)
    for i in range(6):
        for p, o in ((mine, a), (theirs, b)):
            p.grad = torch.full_like(p, math.cos(i))
            o.step()
        if i == 2:
            c = make_optimizer(spec, [resumed])
            restore_state(c, {k: v.clone() for k, v in flatten_state(a).items()})
            resumed.data.copy_(mine.data)
        if i > 2:
            resumed.grad = torch.full_like(resumed, math.cos(i))
            c.step()
    torch.testing.assert_close(mine, theirs)
    assert torch.equal(mine, resumed)


@settings(max_examples=60, deadline=None)
@given(
    name=st.sampled_from(["constant", "cosine", "linear", "step"]),
    total=st.integers(1, 500),
    warmup=st.integers(0, 50),
    base=st.floats(1e-6, 1.0),
)
def test_learning_rates_are_bounded_and_end_at_final(name, total, warmup, base):
    schedule = Schedule(name=name, warmup=warmup, final=base / 10, every=7)
    rates = [learning_rate(schedule, base, i, total, i / total) for i in range(total)]
    assert all(0 < r <= base * (1 + 1e-12) for r in rates)
    after = rates[warmup:]
    assert after == sorted(after, reverse=True)
    assert rates[:warmup] == sorted(rates[:warmup])
    if name in ("cosine", "linear"):
        assert learning_rate(schedule, base, max(total, warmup + 1), max(total, warmup + 1), 1.0) == pytest.approx(
            base / 10
        )


# --- phases, parts, initial weights ----------------------------------------------------------------


def test_phases_in_sequence_and_optimisers_by_name():
    phases = [
        {"phase": "mean", "steps": 5, "optimizer": {"lr": 0.01}},
        {"phase": "play", "steps": 3, "optimizers": {"critic": {"name": "sgd", "lr": 0.02}}},
    ]
    dgmcore.train(recipe(*phases, architecture="train-duo", data={"dataset": "moons"}))
    records = log()
    assert [(r["part"], r["phase"], r["step"]) for r in records] == [
        (0, "mean", 1), (0, "mean", 5), (1, "play", 1), (1, "play", 3)
    ]  # fmt: skip
    assert records[0]["lr"] == 0.01
    assert (records[2]["lr_critic"], records[2]["lr_generator"]) == (0.02, 0.05)
    assert {"loss_critic", "loss_generator", "penalty"} <= set(records[2])


def test_parts_are_trained_in_their_own_phases_and_saved_as_entries(here):
    pair = recipe(
        {"phase": "base.fit", "steps": 20, "ema": 0.5},
        {"phase": "critic.mean", "steps": 2},
        {"phase": "tilt", "steps": 4},
        name="pair",
        architecture="train-pair",
        parts={
            "base": {"architecture": "train-blob", "save_as": "pair-base"},
            "critic": {"architecture": "train-duo", "config": {"dropout": 0.0}},
        },
    )
    alone = dgmcore.train(pair, runs=here / "alone")
    assert dgmcore.load(alone).entry.parts["base"] == "pair-base", "a folder of its own carries its parts"
    folder = dgmcore.train(pair, out=here / "zoo")
    assert sorted(p.name for p in (here / "zoo").iterdir()) == ["pair", "pair-base"]
    assert not [k for k in weights(folder) if k.startswith("parts.base")], "shared weights are not stored twice"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGM_REGISTRY", str(here / "zoo"))
        model = dgmcore.load("pair")
        base = dgmcore.load("pair-base")
        assert torch.equal(model.parts["base"].mean, base.mean)
        assert base.entry.weights.ema and not model.entry.weights.ema
        assert base.entry.noise == model.entry.noise == 2
        # an entry as a part: frozen, named, not stored
        second = recipe(
            {"phase": "tilt", "steps": 3},
            name="pair-two",
            architecture="train-pair",
            parts={"base": "pair-base", "critic": {"architecture": "train-duo"}},
        )
        again = dgmcore.train(second, out=here / "zoo")
        assert dgmcore.load("pair-two").entry.parts["base"] == "pair-base"
        assert not [k for k in weights(again) if k.startswith("parts.base")]
        # weights to start from, by name
        assert torch.equal(build_model(read_recipe(recipe({}, init="pair-base"))).mean, base.mean)
        duo = recipe({"phase": "mean"}, architecture="train-duo", data={"dataset": "moons"}, name="duo")
        dgmcore.train(duo, out=here / "zoo")
        with pytest.raises(TrainingError, match=r"duo does not fit: .*\(16, 2\), here \(8, 2\)"):
            dgmcore.train({**duo, "config": {"width": 8}, "init": "duo", "name": "other"})
        with pytest.raises(TrainingError, match="no weight"):
            dgmcore.train(recipe({}, init="duo", name="third"))


def test_half_precision_reaches_the_parts_that_are_entries(here):
    pair = recipe(
        {"phase": "base.fit", "steps": 20},
        {"phase": "tilt", "steps": 4},
        name="halves",
        architecture="train-pair",
        parts={
            "base": {"architecture": "train-blob", "save_as": "halves-base"},
            "critic": {"architecture": "train-duo"},
        },
        stored_as="float16",
    )
    folder = dgmcore.train(pair, out=here / "zoo")
    for entry in (folder, here / "zoo" / "halves-base"):
        assert {t.dtype for t in weights(entry).values() if t.is_floating_point()} == {torch.float16}
        assert read_entry(entry).weights.dtype == "float16"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("DGM_REGISTRY", str(here / "zoo"))
        assert torch.equal(dgmcore.load("halves").parts["base"].mean, dgmcore.load("halves-base").mean)
        assert dgmcore.load("halves-base").mean.dtype is torch.float32, "loading widens them"


def test_validation_keeps_the_best_weights():
    # a rate that is far too high: the first validation is the best
    data = recipe(
        {"phase": "mean", "steps": 60, "optimizer": {"name": "sgd", "lr": 0.05}, "keep": "best"},
        architecture="train-duo",
        data={"dataset": "moons"},
        validation={"dataset": "moons", "split": "validation", "limit": 700},
        validate_every=10,
    )
    folder = dgmcore.train(data)
    values = {r["step"]: r["validation"] for r in log() if "validation" in r}
    assert sorted(values) == [10, 20, 30, 40, 50, 60]
    assert os.path.exists("runs/blob/checkpoints/best-00.safetensors")
    best = load_file("runs/blob/checkpoints/best-00.safetensors")
    assert all(torch.equal(v, best[k]) for k, v in weights(folder).items())
    model = dgmcore.load(folder)
    from dgmcore.data import as_tensor, open_data

    x = as_tensor(open_data("moons:validation", limit=700))
    assert (model.score(x) - x[:, 0]).square().mean().item() == pytest.approx(min(values.values()), rel=1e-4)
