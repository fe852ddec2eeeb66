"""Training from outside: recipes in, entries, logs and errors out."""

from __future__ import annotations

import json
import math
import os
import signal
import threading
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
import training_models
from dgm_train.build import build_model
from dgm_train.loop.checkpoint import last_checkpoint
from dgm_train.loop.optimizers import flatten_state, make_optimizer, restore_state
from dgm_train.loop.schedule import learning_rate
from dgm_train.recipe import Optimizer, Schedule, override, read_recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

import dgmcore
from dgmcore.errors import DataError, DgmError, OptionError, RegistryError, TrainingError

FIT = {"phase": "fit", "batch_size": 64, "steps": 8, "optimizer": {"lr": 0.05}}
BLOB = {
    "schema": 1,
    "name": "blob",
    "architecture": "train-blob",
    "data": {"dataset": "25gaussians"},
    "phases": [FIT],
    "license": "CC0-1.0",
}


@pytest.fixture(scope="module", autouse=True)
def home(tmp_path_factory):
    """A user with the plugin of toys, whose runs are in a folder of their own."""
    with training_models.user(tmp_path_factory.mktemp("home")) as home:
        yield home


@pytest.fixture(autouse=True)
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def recipe(*phases, base=BLOB, **changes):
    return {**deepcopy(base), **changes, **({"phases": [{**FIT, **p} for p in phases]} if phases else {})}


def weights(folder):
    return load_file(folder / "model.safetensors")


def log(name="blob"):
    return [json.loads(line) for line in Path(f"runs/{name}/log.jsonl").read_text().splitlines()]


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


# --- stops ---------------------------------------------------------------------------------------


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


def test_ctrl_c_writes_a_checkpoint_and_resume_gives_the_same_weights():
    data = recipe({"phase": "play", "steps": 120, "ema": 0.9}, architecture="train-duo", data={"dataset": "moons"})
    whole = weights(dgmcore.train(data, runs="whole"))

    def interrupt():
        path = "runs/blob/log.jsonl"
        while not (os.path.exists(path) and os.path.getsize(path)):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

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


# --- wrong recipes ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"architecture": "train-blub"}, DgmError, "train-bl"),
        ({"sed": 1}, RegistryError, "unknown key sed"),
        ({"phases": []}, RegistryError, "at least one phase"),
        ({"phases": [{"phase": "fit", "steps": 1, "epochs": 1}]}, RegistryError, "steps and epochs"),
        ({"phases": [{"phase": "fit"}]}, RegistryError, "no budget"),
        ({"phases": [{"phase": "fit", "steps": "9"}]}, RegistryError, r"phases\[0\]\.steps|phases.*steps"),
        ({"phases": [{"phase": "fit", "steps": 1, "ema": 1.5}]}, RegistryError, "ema"),
        ({"phases": [{"phase": "fti", "steps": 1}]}, TrainingError, "no phase fti"),
        ({"phases": [{"phase": "base.fit", "steps": 1}]}, TrainingError, "no part base"),
        ({"phases": [{"phase": "fit", "steps": 1, "options": {"x": 1}}]}, TrainingError, "unknown key x"),
        ({"phases": [{"phase": "fit", "steps": 1, "optimizers": {"g": {}}}]}, TrainingError, "no optimiser g"),
        ({"phases": [{**FIT, "optimizer": {"name": "sgd", "eps": 1.0}}]}, TrainingError, "sgd has no eps"),
        ({"phases": [{**FIT, "schedule": {"name": "step"}}]}, RegistryError, "every"),
        ({"data": {"dataset": "mooons"}}, DataError, "no data set is called mooons"),
        ({"data": {"dataset": "moons", "options": {"nois": 1}}}, DataError, "no option nois"),
        ({"data": {"dataset": "moons", "flip": True}}, DataError, "only images"),
        ({"config": {"x": 1}}, DgmError, "unknown key x"),
    ],
)
def test_wrong_recipes_are_named(changes, error, message):
    with pytest.raises(error, match=message) as e:
        dgmcore.train(recipe(**changes))
    assert e.value.hint and "\n" not in e.value.what + e.value.hint
    assert not os.path.exists("runs/blob/checkpoints")


def test_data_of_another_shape_are_refused(here):
    np.save("x.npy", np.zeros((99, 3), np.float32))
    with pytest.raises(TrainingError, match=r"shape \(3,\), but blob wants \(2,\)"):
        dgmcore.train(recipe({}, data={"dataset": "./x.npy"}))
    np.save("few.npy", np.zeros((9, 2), np.float32))
    with pytest.raises(DataError, match="fewer than a batch of 64"):
        dgmcore.train(recipe({}, data={"dataset": "./few.npy"}))


def test_a_missing_recipe_offers_its_neighbours(here):
    (here / "blob.yaml").write_text(json.dumps(BLOB))
    with pytest.raises(TrainingError, match=r"no recipe blub\.yaml") as e:
        dgmcore.train("blub.yaml")
    assert "blob.yaml" in e.value.hint
    with pytest.raises(OptionError, match="phases has 1 elements"):
        dgmcore.train("blob.yaml", set=["phases.3.steps=1"])


def test_overrides_leave_everything_else():
    whole = read_recipe(recipe({}))
    same = read_recipe(recipe({}), {"phases": {"0": {"schedule": {"warmup": 3}}}})
    assert same.phases[0].schedule.warmup == 3
    assert same.phases[0].optimizer == whole.phases[0].optimizer


@settings(max_examples=30, deadline=None)
@given(
    st.recursive(
        st.integers(), lambda c: st.lists(c, max_size=3) | st.dictionaries(st.sampled_from("abc"), c), max_leaves=8
    )
)
def test_overriding_nothing_changes_nothing(data):
    if isinstance(data, list | dict):
        assert override(data, {}) == data


def test_the_command_line(here, capsys):
    from dgmcore.cli import main

    (here / "blob.yaml").write_text(json.dumps(BLOB))
    assert main(["train", "blob.yaml", "--set", "phases.0.steps=2"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == "runs/blob/registry/blob" and "dgm sample ./runs/blob/registry/blob" in err
    assert main(["train", "blob.yaml"]) == 1
    error, hint = capsys.readouterr().err.splitlines()
    assert error.startswith("error: there is a run") and hint.startswith("hint: go on with --resume")
    assert main(["train", "blob.yaml", "--set", "phases.0.stps=2"]) == 1
    assert "unknown key" in capsys.readouterr().err


def test_the_command_line_offers_what_the_model_can_do(here, capsys):
    from dgmcore.cli import main

    draw = np.random.default_rng(0)
    np.savez("x.npz", x_train=draw.integers(0, 256, (64, 8, 8), np.uint8), y_train=draw.integers(0, 10, 64))
    config = {"event_shape": [1, 8, 8], "channels": [4], "kernel": 3, "width": 12}
    phase = {"phase": "classify", "batch_size": 16, "steps": 2}
    made = {**BLOB, "name": "judge", "architecture": "classifier", "config": config, "phases": [phase]}
    (here / "judge.yaml").write_text(json.dumps({**made, "data": {"dataset": "x.npz"}}))
    assert main(["train", "judge.yaml"]) == 0
    assert "try it: dgm eval ./runs/judge/registry/judge\n" in capsys.readouterr().err
