"""Every entry of the bundled registry: what is promised of a model that a user can draw from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml

import dgmcore
from dgmcore.calls.listing import list_models
from dgmcore.config import parse, to_dict
from dgmcore.entry import read_entry
from dgmcore.plugins import architecture
from dgmcore.sampling.draw import sample, stream
from dgmcore.sampling.settings import model_range

ROOT = Path(__file__).parents[1]
NAMES = [m["name"] for m in list_models(can="generator") if m["available"]]


@pytest.mark.parametrize("name", NAMES)
def test_samples_do_not_depend_on_batches_or_number(name):
    model = dgmcore.load(name)
    many = sample(model, 16, batch_size=16, seed=3)
    low, high = model_range(model) or (many.min().item(), many.max().item())
    near = {"rtol": 0, "atol": 1e-4 * (high - low)}
    assert many.shape == (16, *model.event_shape)
    (last,) = stream(model, 1, seed=3, batch_size=1, start=15)
    torch.testing.assert_close(last, many[15:], **near)
    torch.testing.assert_close(sample(model, 3, batch_size=2, seed=3), many[:3], **near)
    assert (sample(model, 1, seed=4) - many[:1]).abs().max() > 1e-2 * (high - low)  # another seed, another sample


@pytest.mark.parametrize("folder", sorted((ROOT / "registry").glob("*/model.yaml")), ids=lambda p: p.parent.name)
def test_an_entry_is_what_its_recipe_makes_or_says_which_legs_it_had(folder):
    entry = read_entry(folder)
    if entry.training is None or entry.training.recipe is None:
        pytest.skip("composed of others, or trained elsewhere")
    recipe = yaml.safe_load((ROOT / entry.training.recipe).read_text())
    assert entry.data.options == recipe["data"].get("options", {}), "what it is evaluated on is what it was trained on"
    assert not any(str(value).startswith("/") for value in (entry.data.dataset, *entry.data.options.values()))
    if recipe["name"] == entry.name:  # else it is a part of that model
        kind = architecture(entry.architecture)
        said, made = (to_dict(parse(kind.Config, config)) for config in (recipe.get("config", {}), entry.config))
        assert (recipe["architecture"], said) == (entry.architecture, made)
        assert (recipe["summary"], recipe.get("sampling", {})) == (entry.summary, entry.sampling)
    assert all(metric.command for metric in entry.metrics)
    steps = [phase.get("steps") for phase in recipe["phases"]]
    if None not in steps and entry.training.steps != sum(steps):
        assert entry.training.notes, "other steps than its recipe's, and not a word about it"
