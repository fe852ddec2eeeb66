"""Recipes that are refused, recipes that are changed, and the command line."""

from __future__ import annotations

import json
import math
import os
import re
from collections.abc import Iterator
from typing import get_args, get_origin

import numpy as np
import pytest
from dgm_train.command import KEYS
from dgm_train.recipe import Recipe, override, read_recipe
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import fields
from training_runs import BLOB, FIT, log, recipe

import dgmcore
from dgmcore.config import Config
from dgmcore.errors import DataError, DgmError, OptionError, RegistryError, TrainingError

pytestmark = pytest.mark.usefixtures("trainer", "here")


def keys(kind: type, prefix: str = "") -> Iterator[str]:
    """What `--set` may begin with, by the types of a recipe."""
    for field in fields(kind):
        many, path = get_origin(field.type), f"{prefix}{field.encode_name}"
        if many is dict:
            yield f"{path}."
            continue
        types = (field.type, *get_args(field.type))
        inner = next((t for t in types if isinstance(t, type) and issubclass(t, Config)), None)
        yield from [f"{path}="] if inner is None else keys(inner, f"{path}.0." if many is tuple else f"{path}.")


def test_completion_knows_every_key_of_a_recipe():
    known = {key for key in keys(Recipe) if not key.startswith(("papers", "validation."))}
    assert known == set(KEYS.split())


FALLS = {"name": "step", "every": 4}


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
        ({"schema": 2}, RegistryError, "schema: 2 is not known here"),
        ({"threads": 100_000}, RegistryError, "threads"),
        ({"phases": [{**FIT, "clip_norm": -1}]}, RegistryError, "clip_norm"),
        ({"phases": [{**FIT, "schedule": {"final": -0.01}}]}, RegistryError, "final"),
        ({"phases": [{**FIT, "optimizer": {"lr": math.inf}}]}, RegistryError, r"phases\[0\]\.optimizer\.lr"),
        ({"config": {"x": [1.0, math.nan]}}, RegistryError, r"config\.x\[1\]: expected a finite"),
        ({"phases": [{**FIT, "steps": 0}]}, RegistryError, "steps"),
        ({"phases": [{**FIT, "steps": None, "epochs": 0.001}]}, TrainingError, "are 0 steps of 64"),
        ({"phases": [{**FIT, "steps": None, "epochs": 1e8}]}, TrainingError, "epochs of 20,000 data are 3.125e"),
        ({"phases": [FIT] * 100}, RegistryError, "100 are more than 99"),
        ({"phases": [{**FIT, "phase": "os:getcwd"}]}, TrainingError, "os:getcwd is no dgmcore.training.Phase"),
        ({"phases": [{**FIT, "phase": "nowhere:X"}]}, TrainingError, "can't be imported"),
        ({"data": {"dataset": "moons", "levels": 1}}, RegistryError, "data.levels: expected `int` >= 2"),
        ({"phases": [{**FIT, "keep": "best"}]}, RegistryError, "keep: best needs validations"),
        ({"phases": [{**FIT, "keep": "best"}], "validate_every": 9}, RegistryError, "more than all 8 steps"),
        # what nothing would look at
        ({"phases": [{**FIT, "schedule": {"final": 1e-5}}]}, RegistryError, "constant one goes down to no `final`"),
        ({"phases": [{**FIT, "schedule": {**FALLS, "final": 1e-5}}]}, RegistryError, "step one goes down to no"),
        ({"phases": [{**FIT, "schedule": {**FALLS, "name": "linear"}}]}, RegistryError, "linear one has no factor"),
        ({"phases": [{**FIT, "schedule": {"factor": 0.9}}]}, RegistryError, "constant one has no factor"),
        ({"phases": [{**FIT, "ema_from": 2}]}, RegistryError, "no average is wanted"),
        ({"validation": {"dataset": "nowhere.npy"}}, RegistryError, "nothing is ever validated"),
        ({"data": {"dataset": "moons:test"}}, DataError, "no data set is called moons:test .write a split as"),
        # what nobody could read again
        ({"license": " \t"}, RegistryError, "license: is empty"),
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


def test_validation_needs_held_out_data(here):
    x = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    np.savez("all.npz", samples=x)
    every = recipe({"steps": 4, "batch_size": 20}, data={"dataset": "all.npz"}, validate_every=2)
    with pytest.raises(DataError, match=r"nothing to validate on: all\.npz has no split test") as e:
        dgmcore.train(every)
    assert "validation: {dataset: ...}" in e.value.hint
    np.savez("split.npz", x_train=x, x_test=x[:50])
    dgmcore.train({**every, "data": {"dataset": "split.npz"}})
    assert [r["step"] for r in log() if "validation" in r] == [2, 4]
    np.save("other.npy", x[:, :1])
    with pytest.raises(TrainingError, match=r"other.npy has data of shape \(1,\), but other wants \(2,\)"):
        dgmcore.train({**every, "name": "other", "validation": {"dataset": "other.npy"}})


def test_the_best_weights_need_a_loss_to_choose_by():
    play = {"phase": "play", "steps": 4, "batch_size": 16, "keep": "best"}
    with pytest.raises(TrainingError, match="keep: best, but Play has no validation loss"):
        dgmcore.train(recipe(play, architecture="train-duo", data={"dataset": "moons"}, validate_every=2))


def test_batch_normalisation_needs_more_than_one():
    play = {"phase": "play", "steps": 2, "batch_size": 1}
    with pytest.raises(TrainingError, match="batch normalisation has no variance in batches of 1") as e:
        dgmcore.train(recipe(play, architecture="train-duo", data={"dataset": "moons"}))
    assert e.value.hint == "set a larger batch_size"


def test_the_entry_says_how_its_data_were_made():
    folder = dgmcore.train(recipe({}, data={"dataset": "moons", "options": {"noise": 0.2}}))
    assert dgmcore.load(folder).entry.data.options == {"noise": 0.2}


def test_it_says_what_it_will_take(capsys):
    dgmcore.train(recipe({"steps": 40, "ema": 0.9, "ema_from": 30}))
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("blob: fit trains 4 weights on ") and first.endswith(" threads")
    assert re.fullmatch(r"fit: [\d.e-]+ s a step, 40 steps take about [\d.]+ s; a checkpoint takes \d+ B", second)
    dgmcore.train(recipe({"steps": 50}), resume=True)
    assert capsys.readouterr().err.splitlines()[0].endswith(", from step 40")


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
