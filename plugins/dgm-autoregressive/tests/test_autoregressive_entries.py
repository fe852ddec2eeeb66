"""The recipes, run for a hundredth of their steps, and the entries that they made."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

import dgmcore
from dgmcore.data import open_data
from dgmcore.errors import DataError

ROOT = Path(__file__).parents[3]
FIELDS = {"": 1, "-h05": 0.5, "-h2": 2}
SPINS = {f"{kind}-tfim{suffix}": h for kind in ("rnn", "pixelcnn1d") for suffix, h in FIELDS.items()}
IMAGES = ("made-mnist", "pixelcnn-fashion")


def recipe_of(name):
    return yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text())


@pytest.mark.parametrize("name", SPINS)
def test_models_of_spins_start_to_learn_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = dgmcore.train(ROOT / "recipes" / f"{name}.yaml", set=["phases.0.steps=60", "phases.0.schedule.warmup=5"])
    model = dgmcore.load(folder)
    assert model.entry.data.options["h"] == SPINS[name]
    x = open_data("tfim:validation", options={"h": SPINS[name]}, limit=2000)
    mean = dgmcore.score(model, x).mean
    assert -8 * 1.3863 + 0.1 < mean < 0, "better than not knowing anything"


@pytest.mark.parametrize("name", IMAGES)
def test_models_of_images_start_to_learn_at_once(name, tmp_path, monkeypatch):
    dataset = recipe_of(name)["data"]["dataset"]
    try:
        open_data(dataset)
    except DataError:
        pytest.skip(f"{dataset} is not here")
    monkeypatch.chdir(tmp_path)
    steps = ["phases.0.steps=20", "phases.0.schedule.warmup=5"]
    dgmcore.train(ROOT / "recipes" / f"{name}.yaml", set=steps)
    log = [json.loads(line) for line in (tmp_path / "runs" / name / "log.jsonl").read_text().splitlines()]
    losses = [record["loss"] for record in log if "loss" in record]
    assert losses[-1] < 0.9 * losses[0]
