"""`dgm train ARCHITECTURE DATA`: a first model of data without a recipe, and likelihoods that can't be."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from dgm_train.results.samples import draw_picture
from dgm_train.starter import first_recipe
from installation import invoke
from PIL import Image

import dgmcore
from dgmcore.errors import TrainingError

#: Solvers of so many steps, for the picture at the end.
FAST = {
    "score-sde": {"sampling": {"steps": 2}},
    "ve-sde": {"sampling": {"steps": 2}},
    "ddpm": {"sampling": {"steps": 2}},
}
TWO_STEPS = {"phases": {"0": {"minutes": None, "steps": 2, "ema_from": 0}}, "samples_every": None}


@pytest.fixture
def photos(tmp_path, monkeypatch):
    """A folder of colour pictures of several sizes; the current folder is the one around it."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "photos").mkdir()
    draw = np.random.default_rng(0)
    for i in range(24):
        smooth = draw.integers(0, 255, (3, 3, 3), np.uint8)
        Image.fromarray(smooth).resize((40 + i, 44), Image.Resampling.BICUBIC).save(
            tmp_path / "photos" / f"{i:02d}.png"
        )
    return "photos"


@pytest.mark.parametrize(
    "architecture", ["conv-vae", "dcgan", "stylegan", "glow", "ddpm", "flowmatching", "score-sde", "ve-sde"]
)
def test_pictures_need_no_recipe(photos, architecture):
    recipe = first_recipe(architecture, photos)
    assert recipe["name"] == f"{architecture}-photos" and recipe["phases"][0]["minutes"] < 10
    folder = dgmcore.train(recipe, set={**TWO_STEPS, **FAST.get(architecture, {})})
    model = dgmcore.load(folder)
    assert model.event_shape == (3, 32, 32) and model.entry.data.range == (-1.0, 1.0)
    assert model.num_parameters() < 2_000_000, "a checkpoint of some megabytes"
    assert (folder / "samples.png").stat().st_size > 1000


def test_what_is_in_the_data_is_not_asked(photos):
    recipe = first_recipe("conv-vae", photos, size=16, minutes=3, name="small")
    assert recipe["data"]["resize"] == 16 and recipe["config"]["event_shape"] == [3, 16, 16]
    assert recipe["phases"][0]["minutes"] == 3 and recipe["name"] == "small"
    assert recipe["config"]["log_sigma_min"] >= 0, (
        "or few pictures are learned pixel by pixel, and nothing between them"
    )
    assert recipe["phases"][0]["batch_size"] == 12, "there are two batches in an epoch"
    np.save("points.npy", np.zeros((500, 5), np.float32))
    for architecture in ("mlp-vae", "mlp-gan", "maf"):
        model = dgmcore.load(dgmcore.train(architecture, "points.npy", set=TWO_STEPS))
        assert model.event_shape == (5,), architecture


def test_a_recipe_takes_its_shape_from_the_data(photos):
    recipe = {"schema": 1, "name": "a", "architecture": "ddpm", "data": {"dataset": photos}, "license": "CC0-1.0"}
    recipe["phases"] = [{"phase": "denoise", "steps": 2, "batch_size": 8}]
    model = dgmcore.load(dgmcore.train(recipe, set={"data": {"crop": True, "resize": 24}, "sampling": {"steps": 2}}))
    assert model.event_shape == (3, 24, 24) and model.config.network.args["block_out_channels"] == [32, 64]


def test_a_likelihood_that_can_not_be_is_an_error(photos):
    recipe = first_recipe("conv-vae", photos)
    bernoulli = {**TWO_STEPS, "config": {"decoder": "bernoulli"}}
    with pytest.raises(TrainingError, match=r"is a model of data in \[0.0, 1.0\], and photos is in \[-1.0, 1.0\]") as e:
        dgmcore.train(recipe, set=bernoulli)
    assert "data.range: [0, 1]" in e.value.hint
    folder = dgmcore.train(recipe, set={**bernoulli, "data": {"range": [0, 1]}})
    assert dgmcore.load(folder).entry.data.range == (0.0, 1.0)


def test_pictures_of_a_gaussian_vae_are_means(photos, tmp_path):
    """Noise of the last step would differ from pixel to pixel, however smooth the picture."""
    recipe = first_recipe("conv-vae", photos)
    recipe["sampling"] = {}
    model = dgmcore.load(dgmcore.train(recipe, set={**TWO_STEPS, "config": {"sigma": 0.5}}))
    assert dgmcore.sample(model, 16).std() > 0.4, "samples have the noise"
    assert draw_picture(model, tmp_path / "seen.png")
    with Image.open(tmp_path / "seen.png") as picture:
        tile = torch.from_numpy(np.array(picture.convert("RGB"))[10:40, 10:40]).float()
    assert (tile[1:] - tile[:-1]).abs().mean() < 5


@pytest.mark.parametrize(
    ("args", "what", "hint"),
    [
        (["conv-vae"], "conv-vae is an architecture: there are no data", "dgm train conv-vae DATA"),
        (["vaebm", "photos"], "vaebm has no settings of its own", "write a recipe"),
        (["conv-vea", "photos"], "architecture conv-vea", ""),
        (["conv-vae", "fotos"], "no data set is called fotos", ""),
        (["recipe.yaml", "--minutes", "3"], "--minutes is for an architecture and data", "phases.0.minutes"),
        (["realnvp", "moons", "--size", "8"], "moons are no pictures", "leave out --size"),
        (["realnvp", "photos"], "photos has data of shape (3, 32, 32), but realnvp-photos wants (2,)", "config"),
    ],
)
def test_what_does_not_go_together_is_two_lines(photos, capsys, monkeypatch, args, what, hint):
    monkeypatch.setenv("DGM_PLUGINS", "train,data,flows,hybrids,vaes")
    code, _, err = invoke(capsys, "train", *args)
    lines = [line for line in err.splitlines() if not line.startswith("photos: ")]
    assert code in (1, 2) and len(lines) == 2 and what in lines[0] and hint in lines[1], err
    assert not list(Path("runs").glob("*/checkpoints"))


def test_pictures_of_several_sizes_are_cut_which_is_said(photos, capsys):
    first_recipe("conv-vae", photos)
    assert "photos: pictures of several sizes become 32 x 32, their middle squares; --size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "what", "hint"),
    [
        (["vae", "photos"], "vae is a family of architectures", "conv-vae"),
        (["flows", "photos"], "flows is a family of architectures", "glow"),
        (["photos"], "photos is a folder: nothing says what to train on it", "dgm train conv-vae photos"),
        (["photos", "dcgan"], "no plugin provides the architecture photos", "dgm train dcgan photos"),
        (["conv_vae", "photos"], "no plugin provides the architecture conv_vae", "did you mean conv-vae"),
    ],
)
def test_what_is_asked_for_in_another_order_or_by_another_name(photos, capsys, words, what, hint):
    code, _, err = invoke(capsys, "train", *words)
    assert code and what in err and hint in err
