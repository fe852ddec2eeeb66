"""`dgm finetune` and `dgm train --like`: own data, trained as an entry was, from its weights or from new ones."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from dgm_train.from_entry import recipe_from
from installation import invoke
from PIL import Image

import dgmcore
from dgmcore.registry.find import find

PLUGINS = "train,data,flows,vaes,ebms,hybrids,weights"  # one set: its index is made once
STEPS = ["--set", "phases.0.minutes=null", "--set", "phases.0.steps=30"]


def pictures(folder: Path, mode: str = "L", low: int = 0, high: int = 255) -> str:
    folder.mkdir()
    draw = np.random.default_rng(0)
    for i in range(24):
        smooth = draw.integers(low, high, (3, 3) if mode == "L" else (3, 3, 3), np.uint8)
        Image.fromarray(smooth).resize((40, 44), Image.Resampling.BICUBIC).save(folder / f"{i:02d}.png")
    return folder.name


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with the run of a small VAE of dark pictures."""
    folder = tmp_path_factory.mktemp("trained")
    recipe = {
        "schema": 1,
        "name": "dark",
        "architecture": "conv-vae",
        "config": {"latents": 4, "widths": [8], "hidden": 0, "decoder": "gaussian", "event_shape": [1, 16, 16]},
        "data": {"dataset": str(folder / pictures(folder / "dark", high=60)), "crop": True, "resize": 16, "flip": True},
        "phases": [
            {"phase": "elbo", "steps": 2, "batch_size": 8, "optimizer": {"lr": 0.001}},
            {"phase": "elbo", "options": {"warmup": 0.5}, "steps": 30, "batch_size": 8, "optimizer": {"lr": 0.01}},
        ],
        "sampling": {"mean": True},
        "license": "CC0-1.0",
    }
    dgmcore.train(recipe, runs=folder / "runs")
    return folder


@pytest.fixture
def base(trained, tmp_path, monkeypatch):
    """The VAE, in a current folder of one's own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DGM_PLUGINS", PLUGINS)
    shutil.copytree(trained, tmp_path, dirs_exist_ok=True)
    return "./runs/dark/registry/dark"


def brightness(model) -> float:
    return dgmcore.sample(model, 16).mean().item()


def test_finetuning_goes_on_from_the_weights_in_one_command(base, tmp_path, capsys):
    bright = pictures(tmp_path / "bright", low=200)
    steps = ["--set", "phases.0.minutes=null", "--set", "phases.0.steps=90", "--set", "samples_every=30"]
    code, out, err = invoke(capsys, "finetune", base, bright, *steps)
    assert code == 0, err
    model = dgmcore.load(f"./{out.strip()}")
    assert model.entry.name == "dark-bright" and model.entry.license == "CC0-1.0"
    assert model.config == dgmcore.load(base).config and model.event_shape == (1, 16, 16)
    assert brightness(base) < 0 < brightness(model)
    assert len(list(Path("runs/dark-bright/samples").glob("*.png"))) == 3


def test_its_recipe_is_the_last_phase_made_gentle(base, tmp_path):
    bright = pictures(tmp_path / "bright")
    recipe = recipe_from(base, bright, finetune=True, minutes=3)
    assert recipe["init"] == base and recipe["data"]["flip"], "as it was trained"
    (phase,) = recipe["phases"]
    assert phase["minutes"] == 3 and phase["optimizer"]["lr"] == pytest.approx(0.003)
    assert phase["options"]["warmup"] == 0, "the KL term is not left out again"
    assert phase["batch_size"] == 8


def test_the_first_step_leaves_the_weights_where_they_were(base, tmp_path, monkeypatch):
    """Of a Glow too, whose training begins by setting weights by the data."""
    monkeypatch.setenv("DGM_PLUGINS", PLUGINS)
    recipe = {
        "schema": 1,
        "name": "glow",
        "architecture": "glow",
        "config": {"event_shape": [1, 16, 16], "steps": [2], "hidden": [8]},
        "data": {"dataset": "dark", "crop": True, "resize": 16, "dequantize": True},
        "phases": [{"phase": "likelihood", "steps": 20, "batch_size": 8}],
        "license": "CC0-1.0",
    }
    before = dgmcore.load(dgmcore.train(recipe)).state_dict()
    own = recipe_from("./runs/glow/registry/glow", pictures(tmp_path / "bright"), finetune=True)
    after = dgmcore.load(dgmcore.train(own, set={"phases": {"0": {"minutes": None, "steps": 1}}})).state_dict()
    largest = max((after[k] - before[k]).abs().max().item() for k in before)
    assert 0 < largest < 1e-3


def test_like_trains_new_weights_in_all_phases(base, tmp_path, capsys):
    bright = pictures(tmp_path / "bright")
    recipe = recipe_from(base, bright, finetune=False, minutes=8)
    assert "init" not in recipe and list(recipe["config"]["widths"]) == [8]
    assert [round(p["minutes"], 2) for p in recipe["phases"]] == [0.5, 7.5], "as 2 steps and 30"
    assert recipe["phases"][1]["optimizer"]["lr"] == 0.01 and recipe["phases"][1]["options"]["warmup"] == 0.5
    code, out, err = invoke(
        capsys, "train", "--like", base, "--data", bright, "--name", "new", "--set", "seed=1", *STEPS,
        "--set", "phases.1.minutes=null", "--set", "phases.1.steps=1",
    )  # fmt: skip
    assert code == 0, err
    new, old = dgmcore.load(f"./{out.strip()}"), dgmcore.load(base)
    assert new.entry.name == "new" and new.num_parameters() == old.num_parameters()
    assert not torch.equal(next(new.parameters()), next(old.parameters()))


def test_a_shipped_model_of_points_and_one_without_its_recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DGM_PLUGINS", PLUGINS)
    np.save("points.npy", np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32))
    shipped = recipe_from("realnvp-moons", "points.npy", finetune=True)
    assert shipped["data"] == {"dataset": "points.npy"} and shipped["phases"][0]["phase"] == "likelihood"
    assert shipped["phases"][0]["batch_size"] == 100
    shutil.copytree(find("realnvp-moons").folder, "alone/registry/realnvp-moons")
    alone = recipe_from("./alone/registry/realnvp-moons", "points.npy", finetune=True)
    assert [p["phase"] for p in alone["phases"]] == ["likelihood"]


def test_trained_parts_become_entries_of_the_new_model(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DGM_PLUGINS", PLUGINS)
    recipe = recipe_from("vaebm-celeba-elbo", pictures(tmp_path / "photos", "RGB"), finetune=True)
    assert recipe["parts"]["base"] == "nvae-celeba", "it was not trained, and is not"
    assert recipe["parts"]["critic"]["save_as"] == "vaebm-celeba-elbo-photos-critic"
    assert recipe["data"]["resize"] == 64 and recipe["license"].startswith("Weights trained on CelebA")
    assert len(recipe["phases"]) == 1 and recipe["phases"][0]["options"]["buffer_size"] == 2000


@pytest.mark.parametrize(
    ("args", "what", "hint"),
    [
        (["finetune", "BASE", "colours"], "dark has data of shape (1, 16, 16), colours of (3, 16, 16)", "dgm list"),
        (["finetune", "BASE", "moons"], "moons are no pictures", "name pictures"),
        (["finetune", "realnvp-mooons", "moons"], "no model realnvp-mooons", "realnvp-moons"),
        (["finetune", "BASE", "fotos"], "no data set is called fotos", ""),
        (["train", "--like", "BASE"], "wants one name of data, not 0", "DATA"),
        (["train", "--like", "BASE", "colours", "--size", "8"], "--size is for an architecture", "leave out"),
        (["train"], "nothing says what to train", "--like NAME DATA"),
    ],
)
def test_what_does_not_fit_is_two_lines(base, tmp_path, capsys, args, what, hint):
    pictures(tmp_path / "colours", "RGB")
    before = sorted(os.listdir("runs"))
    code, _, err = invoke(capsys, *[base if a == "BASE" else a for a in args])
    lines = [line for line in err.splitlines() if not line.startswith("colours: ")]
    assert code in (1, 2) and len(lines) == 2 and what in lines[0] and hint in lines[1], err
    assert sorted(os.listdir("runs")) == before


def test_architectures_are_completed(capsys, tmp_path, monkeypatch):
    from dgm_train.command import _trainable

    monkeypatch.chdir(tmp_path)
    (tmp_path / "conv.yaml").write_text("")
    found = _trainable("conv")
    assert "conv-vae" in found and "conv.yaml" in found
