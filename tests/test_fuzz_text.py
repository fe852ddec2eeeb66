"""Entries, recipes, options and names: whatever is written there, nothing runs, hangs or leaves its folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
import yaml as pyyaml
from dgm_train.recipe import Recipe, read_recipe
from fuzzing import VALUES, judging
from hub_server import HubServer

from dgmcore import registry
from dgmcore.cli import main
from dgmcore.cli.set_options import parse_set
from dgmcore.config import parse, to_dict
from dgmcore.data import open_data
from dgmcore.entry import Entry
from dgmcore.errors import DgmError
from dgmcore.files import yaml
from dgmcore.hub.cache import check_repo
from dgmcore.plugins import current
from dgmcore.suggestions import did_you_mean

ENTRY = {
    "schema": 1,
    "name": "glow-fashion",
    "architecture": "glow",
    "license": "apache-2.0",
    "summary": "A flow of clothes",
    "data": {"dataset": "fashion", "event_shape": [1, 32, 32], "range": [-1, 1], "levels": 256},
    "config": {"levels": 3, "steps": 8, "hidden": [64, 64]},
    "parts": {"base": "realnvp-moons", "critic": {"architecture": "mlp", "config": {"width": 3}, "parts": {}}},
    "weights": {
        "file": "unet/model.safetensors",
        "sha256": "ab" * 32,
        "size": 8451,
        "hub": {"repo": "user/glow-fashion", "revision": "v1", "file": "model.safetensors"},
        "parameters": 2000,
    },
    "sampling": {"temperature": 0.7},
    "metrics": [{"name": "fid", "value": 2.5, "n": 1000, "sampling": {"steps": 3}, "command": "dgm eval x"}],
    "training": {"recipe": "recipes/x.yaml", "seed": 0, "source": {"file": "x.pt"}},
    "papers": [{"title": "Glow", "url": "https://arxiv.org/abs/1807.03039", "year": 2018}],
    "tags": ["images"],
}

RECIPE = {
    "schema": 1,
    "name": "realnvp-moons",
    "architecture": "realnvp",
    "config": {"steps": 8},
    "parts": {"base": {"architecture": "vae", "config": {}, "save_as": "base-moons"}},
    "data": {"dataset": "moons", "split": "train", "options": {"noise": 0.05}, "limit": 100},
    "phases": [
        {
            "phase": "nll",
            "batch_size": 64,
            "steps": 100,
            "optimizer": {"name": "adamw", "lr": 1e-3, "betas": [0.9, 0.99]},
            "schedule": {"name": "cosine", "warmup": 10},
            "ema": 0.99,
        }
    ],
    "license": "cc0-1.0",
    "seed": 3,
}


def text_of(mutate, good: str, data: dict, i: int) -> bytes:
    """Returns the text of a changed document: its bytes changed, or its structure."""
    if i % 2:
        return mutate.bytes(good.encode())
    tree = mutate.tree(data)
    if i % 4:
        return json.dumps(tree, ensure_ascii=bool(i % 3)).encode("utf-8", "surrogatepass")
    return pyyaml.dump(tree, allow_unicode=True).encode("utf-8", "surrogatepass")


def test_fuzz_entries(installation, tmp_path, capsys):
    """What is accepted keeps its files and names inside, is read back as it is written, and shown without harm."""
    installation.plugin("toys", architecture="glow")
    time.sleep(0.03)  # what was written just now would be read again
    current.index()
    folder = tmp_path / "entry"
    folder.mkdir()
    path, good = folder / "model.yaml", pyyaml.safe_dump(ENTRY, sort_keys=False)
    with judging("entries", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = text_of(mutate, good, ENTRY, i)
            path.write_bytes(raw)
            entry = judge(lambda: registry.read_entry(path), raw)
            if entry is not None:
                inside = (folder / entry.weights.file) if entry.weights else path
                assert inside.resolve().is_relative_to(folder) and "/" not in entry.name
                hidden = entry.weights.hub if entry.weights else None
                assert hidden is None or ".." not in f"{hidden.repo}/{hidden.file}/{hidden.revision}".split("/")
                written = judge(lambda entry=entry: registry.write_entry(entry, tmp_path / "again"), raw)
                assert to_dict(registry.read_entry(written)) == to_dict(entry)
                assert judge(lambda: main(["--debug", "info", str(folder)]), raw) in (0, None)
                assert all(line.isprintable() for line in capsys.readouterr().out.split("\n")), raw
    assert judge.accepted > 100 and judge.refused > 500


def test_fuzz_recipes(tmp_path):
    path, good = tmp_path / "x.yaml", pyyaml.safe_dump(RECIPE, sort_keys=False)
    with judging("recipes", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = text_of(mutate, good, RECIPE, i)
            path.write_bytes(raw)
            recipe = judge(lambda: read_recipe(path), raw)
            assert recipe is None or (isinstance(recipe, Recipe) and "/" not in recipe.name)
    assert judge.accepted > 50 and judge.refused > 300


def test_fuzz_yaml(tmp_path):
    """What is accepted is plain data that is written and read back equal."""
    goods = [
        "a: 1\nb: [x, 'y', \"z\"]\nc:\n  - d: |\n      text\n    e: >-\n      more\n",
        "{a: {b: [1.5, ~, true]}}\n",
    ]
    with judging("yaml", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % 2].encode())
            data = judge(lambda raw=raw: yaml.read(raw), raw)
            if data is not None:
                assert yaml.read(yaml.dump(data)) == data
    assert judge.accepted > 50


@pytest.mark.parametrize(
    "text",
    [
        "[" + "0," * 499_000 + "0]",
        "{" + ",".join(f"k{i}: 0" for i in range(80_000)) + "}",
        "- " * 32 + "\n" + "- a\n" * 240_000,
        "a: '" + "x" * 999_000 + "'",
        "k" * 990_000 + ": 1",
        "# " + "x" * 990_000,
        "a: |\n" + "  x\n" * 240_000,
        "a: " + "9" * 990_000,
        'a: "' + "\\x41" * 240_000 + '"',
        "? " * 400_000,
        "[" * 500_000,
        "%TAG ! x\n" * 100_000,
        "\n" * 990_000 + "a: 1",
    ],
    ids=lambda text: text[:12].strip(),
)
def test_yaml_of_the_largest_size_takes_no_more_than_two_seconds(text):
    start = time.process_time()
    try:
        data = yaml.read(text)
    except DgmError as e:
        assert len(e.what) < 3000
    else:
        for kind in (Entry, Recipe):
            with pytest.raises(DgmError):
                parse(kind, data)
    assert time.process_time() - start < 2


def test_fuzz_options(tmp_path):
    goods = ["optimizer.lr=1e-3", "phases.0.steps=10", "hidden=[1, 2]", "a.b={c: d}", "name=text"]
    with judging("options", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            text = mutate.bytes(goods[i % len(goods)].encode()).decode("utf-8", "replace")
            judge(lambda text=text: read_recipe(Recipe(**parsed()), parse_set([text])), text)


def parsed() -> dict:
    recipe = parse(Recipe, RECIPE)
    return {key: getattr(recipe, key) for key in recipe.__struct_fields__}


NAMES = ["glow-fashion", "core/glow-fashion", "./glow-fashion", "hf://user/repo@v1", "hf://user/repo", "user/repo"]


def test_fuzz_names_of_models_and_repositories(installation, tmp_path, monkeypatch):
    """No name reaches a network that is switched off, nor a folder outside of the cache."""
    from huggingface_hub import constants

    installation.entry("glow-fashion")
    current.index()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf"))
    words = [str(v) for v in VALUES if isinstance(v, str)]
    with judging("names", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            name = mutate.bytes(NAMES[i % len(NAMES)].encode()).decode("utf-8", "surrogateescape")
            name = (
                name
                if i % 5
                else mutate.random.choice(["{}", "hf://{}", "hf://user/{}", "hf://a/b@{}"]).format(
                    mutate.random.choice(words)
                )
            )
            found = judge(lambda name=name: registry.find(name), name)
            assert found is None or found.entry.name == "glow-fashion", name
            judge(lambda name=name, i=i: open_data(f"{name}.npy" if i % 3 else name), name)
            judge(lambda name=name: read_recipe(name), name)
            repo = judge(lambda name=name: check_repo(name) or name, name)
            assert repo is None or (repo.count("/") == 1 and ".." not in repo)


def test_a_long_name_is_not_compared_letter_by_letter():
    start = time.process_time()
    assert did_you_mean("a" * 1_000_000, ["glow-fashion"] * 3, "see `dgm list`") == "see `dgm list`"
    assert time.process_time() - start < 0.5


def test_a_hub_that_serves_hostile_entries(tmp_path, hub, monkeypatch):
    """Entries that name files and entries elsewhere are refused, and nothing appears outside of the cache."""
    assert isinstance(hub, HubServer)
    monkeypatch.chdir(tmp_path)
    hostile = [
        {"weights": {"file": "../../../escaped"}},
        {"weights": {"file": "/tmp/escaped"}},
        {"weights": {"hub": {"repo": "../..", "file": "x"}}},
        {"weights": {"hub": {"repo": "user/x", "file": "../../x"}}},
        {"name": "../x"},
        {"parts": {"base": "../../../entry"}},
        {"parts": {"base": "/etc"}},
    ]
    for i, change in enumerate(hostile):
        entry = {k: v for k, v in {**ENTRY, "parts": {}, "weights": None, **change}.items() if v is not None}
        hub.add(f"user/hostile{i}", {"model.yaml": pyyaml.safe_dump(entry).encode()})
        with pytest.raises(DgmError):
            located = registry.find(f"hf://user/hostile{i}")
            from dgmcore.registry.find import with_parts

            with_parts(located)
            raise AssertionError(f"{change} was taken")
    assert {p.name for p in tmp_path.iterdir()} <= {"hf"} and not Path("/tmp/escaped").exists()
