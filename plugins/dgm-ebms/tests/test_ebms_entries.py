"""Recipes of energies of two moons, run for a hundredth of their steps, and the entries that they made."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import dgmcore

ROOT = Path(__file__).parents[3]
MOONS = ("dsm-moons", "nce-moons")
ENTROPY = 0.290  # of the data, in nats


def recipe_of(name):
    return yaml.safe_load((ROOT / "recipes" / f"{name}.yaml").read_text(encoding="utf-8"))


@pytest.mark.parametrize("name", MOONS)
def test_a_shipped_energy_is_near_the_truth(name):
    if not (ROOT / "registry" / name).is_dir():
        pytest.skip(f"{name} has not been trained yet")
    (found,) = dgmcore.evaluate(name, ["nll"], n=4000)
    assert found.value - ENTROPY < 0.1 + 3 * found.std, "its KL divergence"


@pytest.mark.parametrize("name", MOONS)
def test_a_recipe_starts_to_learn_at_once(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    phases = recipe_of(name)["phases"]
    few = [f"phases.{i}.steps={max(20, phase['steps'] // 100)}" for i, phase in enumerate(phases)]
    folder = dgmcore.train(ROOT / "recipes" / f"{name}.yaml", set=few)
    (found,) = dgmcore.evaluate(folder, ["nll"], n=1000)
    assert found.value < 2.5, "the reference alone has 3.0 nats"


def test_chains_that_leave_all_bounds_end_no_training(tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    steep = ["sampling.steps=400", "sampling.step_size=1e6", "samples_every=2"]
    steep += [f"phases.{i}.steps=2" for i in range(len(recipe_of("dsm-moons")["phases"]))]
    folder = dgmcore.train(ROOT / "recipes" / "dsm-moons.yaml", set=steep)
    assert sorted(p.name for p in folder.iterdir()) == ["model.safetensors", "model.yaml"], "and no picture"
    assert capfd.readouterr().err.count("there is no picture of samples: ") >= 2, "on the way, and at the end"
