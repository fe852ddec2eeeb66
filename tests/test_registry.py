"""Entries: strict reading, writing, names, overriding, what is available."""

from __future__ import annotations

import json
import os
import struct
import time

import pytest
from installation import invoke, listed

import dgmcore
from dgmcore import registry
from dgmcore.calls.listing import count_parameters
from dgmcore.entry import Data, Entry, HubFile, Metric, PartSpec, Weights
from dgmcore.errors import DgmError, RegistryError, UsageError
from dgmcore.plugins import current
from dgmcore.registry.find import with_parts

FULL = Entry(
    schema=1,
    name="toy-moons",
    architecture="toy",
    license="mit",
    data=Data(dataset="moons", event_shape=(2,), range=(-1.0, 1.0), levels=256),
    summary="A toy: of moons",
    config={"lr": 1e-5, "hidden": [64, 64], "deep": {"a": {"b": None}}, "no": "no", "number": "1e3"},
    parts={"base": "other", "own": PartSpec(architecture="toy", config={"k": 1}, parts={"x": "third"})},
    weights=Weights(sha256="0" * 64, size=3, hub=HubFile(repo="a/b", revision="v1.0"), ema=True, parameters=7),
    sampling={"steps": 20},
    metrics=(Metric(name="fid", value=1.25, n=100, sampling={"steps": 20}, command="dgm eval toy-moons"),),
    tags=("x", "y"),
)


def test_an_entry_survives_writing_and_reading(tmp_path):
    path = registry.write_entry(FULL, tmp_path / "toy-moons")
    assert path.name == "model.yaml"
    assert registry.read_entry(path) == FULL == registry.read_entry(path.parent)
    assert [line.split(":")[0] for line in path.read_text().splitlines() if line[0] not in " -"] == [
        "schema", "name", "architecture", "license", "data", "summary", "config", "parts", "weights", "sampling",
        "metrics", "tags",
    ]  # fmt: skip
    assert os.listdir(path.parent) == ["model.yaml"]


def test_a_failed_write_leaves_the_old_entry(tmp_path, monkeypatch):
    path = registry.write_entry(FULL, tmp_path)
    before = path.read_text()
    monkeypatch.setattr(os, "replace", lambda *a: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DgmError, match="No space"):
        registry.write_entry(FULL, tmp_path)
    assert path.read_text() == before and os.listdir(tmp_path) == ["model.yaml"]


@pytest.mark.parametrize(
    ("change", "what", "hint"),
    [
        ({"licence": "mit", "license": None}, "unknown key licence", "did you mean license?"),
        ({"license": None}, "license", ""),
        ({"license": " "}, "license: is empty", "licence"),
        ({"data": {"dataset": "moons", "event_shap": [2]}}, "unknown key data.event_shap", "event_shape"),
        ({"data": {"dataset": "moons", "event_shape": ["2"]}}, "data.event_shape[0]: expected `int`, got `str`", ""),
        ({"data": {"dataset": "moons", "event_shape": [0]}}, "data.event_shape", "for example"),
        ({"data": {"dataset": "m", "event_shape": [2], "range": [1, -1]}}, "data.range", "[-1, 1]"),
        ({"schema": 2}, "schema: 2 is not known", "upgrade dgmcore"),
        ({"schema": 0}, "schema: 0 is not known", "write schema: 1"),
        ({"schema": "1"}, "schema: expected `int`, got `str`", ""),
        ({"name": "../../x"}, "name", ""),
        ({"weights": {"file": "../x.safetensors"}}, "weights.file", ""),
        ({"weights": {"file": "/etc/passwd"}}, "weights.file", ""),
        ({"weights": {"sha256": "abc"}}, "weights.sha256", ""),
        ({"weights": {"hub": {"repo": "../.."}}}, "weights.hub", "USER/REPO"),
        ({"weights": {"hub": {"repo": "a/b", "revision": "../../x"}}}, "weights.hub", "USER/REPO"),
        ({"weights": {"hub": {"repo": "a/b", "revision": "a b"}}}, "weights.hub.revision", "commit"),
        ({"parts": {"base": 3}}, "parts", ""),
        ({"parts": {"base": "toy"}}, "parts.base: the entry is a part of itself", ""),
        ({"metrics": [{"name": "fid", "valu": 1}]}, "unknown key metrics[0].valu", "value"),
        ({"metrics": [{"name": "fid"}]}, "metrics[0]", ""),
    ],
)
def test_an_invalid_entry_names_file_key_and_expectation(installation, change, what, hint):
    folder = installation.entry("toy", **change)
    with pytest.raises(RegistryError) as caught:
        registry.read_entry(folder)
    assert f"{folder}/model.yaml" in caught.value.what and what in caught.value.what
    assert hint in caught.value.hint and "\n" not in str(caught.value)


def test_an_invalid_entry_breaks_nothing_else(installation):
    installation.entry("good")
    installation.entry("bad", colour="red")
    installation.entry("renamed", name="other")
    (installation.registry / "empty").mkdir()
    (installation.registry / "broken").mkdir()
    (installation.registry / "broken" / "model.yaml").write_bytes(b"\xff")
    (installation.registry / "folder" / "model.yaml").mkdir(parents=True)
    (installation.registry / "a-file").write_text("x")
    assert [m["name"] for m in listed("*")] == ["good"]
    invalid = {os.path.basename(os.path.dirname(i.path)): i for i in current.index().invalid}
    assert set(invalid) == {"bad", "renamed", "broken", "folder"}
    assert "unknown key colour" in invalid["bad"].what
    assert "is not the name of its folder" in invalid["renamed"].what
    with pytest.raises(RegistryError, match="unknown key colour"):  # not: there is no model bad
        registry.find("bad")


def test_names_and_their_nearest(installation):
    for name in ("vae-mnist", "vae-fashion", "glow-fashion"):
        installation.entry(name)
    assert registry.find("vae-mnist").full_name == "environment/vae-mnist"
    with pytest.raises(RegistryError, match=r"no model vea-fashion \(did you mean vae-fashion or "):
        registry.find("vea-fashion")
    with pytest.raises(RegistryError, match="did you mean environment/vae-mnist"):
        registry.find("enviroment/vae-mnist")
    for name in ("", "..", "/", "~nobody/x", "x" * 5000, "a\x00b", "hf://", "hf://a", "hf://a/b/c", "*"):
        with pytest.raises((RegistryError, UsageError)):
            registry.find(name)


def test_folders(installation, monkeypatch):
    folder = installation.entry("toy", installation.work / "runs")
    for name in ("./runs/toy", "runs/toy", str(folder), "runs/toy/", "./runs/toy/model.yaml", folder):
        found = registry.find(name)
        assert (found.folder, found.origin) == (folder, "folder")
    os.rename(folder, folder.parent / "renamed")  # a folder that is no registry's may have any name
    assert registry.find("./runs/renamed").entry.name == "toy"
    with pytest.raises(RegistryError, match="there is no folder"):
        registry.find("./runs/toy")
    with pytest.raises(RegistryError, match="holds no"):
        registry.find("./runs")


def test_the_environment_overrides_the_user_who_overrides_plugins(installation, monkeypatch):
    shelf = installation.folder / "shelf"
    source = f"""
        from dgmcore.hookspecs import hookimpl
        @hookimpl
        def dgm_registries():
            return [{str(shelf)!r}]
    """
    installation.plugin("one", source)
    installation.entry("toy", shelf, summary="of the plugin")
    assert registry.find("toy").origin == "one"
    installation.entry("toy", installation.data / "registry", summary="of the user")
    assert registry.find("toy").full_name == "user/toy"
    installation.entry("toy", summary="of the environment")
    found = registry.find("toy")
    assert found.entry.summary == "of the environment"
    assert found.overrides == ["user/toy", "one/toy"] == dgmcore.info("toy")["overrides"]
    assert registry.find("one/toy").entry.summary == "of the plugin"
    assert registry.find("user/toy").overrides == []
    assert [m["name"] for m in listed("toy")] == ["toy"]
    second = installation.folder / "second"
    installation.entry("toy", second, summary="of the second")
    monkeypatch.setenv("DGM_REGISTRY", os.pathsep.join([str(second), str(installation.registry)]))
    assert registry.find("toy").entry.summary == "of the second"


def test_two_plugins_with_one_entry_name(installation):
    for name in ("one", "two"):
        shelf = installation.folder / name
        installation.entry("toy", shelf, summary=name)
        source = (
            f"from dgmcore.hookspecs import hookimpl\n@hookimpl\ndef dgm_registries():\n    return [{str(shelf)!r}]\n"
        )
        installation.plugin(name, source)
    assert [m["name"] for m in listed()] == ["one/toy", "two/toy"]
    assert registry.find("two/toy").entry.summary == "two"
    with pytest.raises(RegistryError, match=r"toy is the name of 2 models \(say which: one/toy or two/toy\)"):
        registry.find("toy")
    installation.entry("toy", summary="mine")
    assert registry.find("toy").overrides == ["one/toy", "two/toy"]


def test_filters(installation):
    installation.plugin("toys")
    installation.entry("toy-moons")
    installation.entry("toy-rings", data={"dataset": "rings", "event_shape": [2]})
    installation.entry("lost", architecture="nobody-has-this")

    def names(*args, **filters):
        return [m["name"] for m in listed(*args, **filters)]

    assert names() == ["lost", "toy-moons", "toy-rings"]
    assert names("toy") == names("toy-*") == names("t?y*") == names(family="toys") == ["toy-moons", "toy-rings"]
    assert names("moons") == names(dataset="moons", can="critic") == ["toy-moons"]
    assert names("toy", can="critic", dataset="rings") == ["toy-rings"] and names("zzz") == []
    with pytest.raises(UsageError, match=r"no family tois \(did you mean toys"):
        names(family="tois")
    with pytest.raises(UsageError, match=r"no capability densty \(did you mean density"):
        names(can="densty")
    with pytest.raises(UsageError, match=r"no data set moon \(did you mean moons"):
        names(dataset="moon")
    model = listed("toy-moons")[0]
    assert list(model) == [
        "name", "family", "architecture", "dataset", "event_shape", "capabilities", "parameters", "bytes", "available",
        "plugin",
    ]  # fmt: skip
    assert model["capabilities"] == ["generator", "critic"] and model["plugin"] == "toys"
    lost = listed("lost")[0]
    assert (lost["family"], lost["plugin"], lost["capabilities"]) == (None, None, [])


def _safetensors(path, tensors):
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, (dtype, shape, size) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


def test_parameters_bytes_and_availability(installation):
    folder = installation.entry("toy", weights={})
    assert (m := listed("toy")[0])["parameters"] is None and not m["available"] and m["bytes"] is None
    file = folder / "model.safetensors"
    _safetensors(file, {"w": ("F32", [3, 4], 48), "b": ("BF16", [5], 10), "step": ("I64", [1], 8)})
    model = listed("toy")[0]
    assert (model["parameters"], model["bytes"], model["available"]) == (17, file.stat().st_size, True)
    installation.entry("said", weights={"parameters": 9, "size": 123})
    model = listed("said")[0]
    assert (model["parameters"], model["bytes"], model["available"]) == (9, 123, False)
    installation.entry("whole", parts={"base": "toy", "own": {"architecture": "toy", "parts": {"x": "said"}}})
    assert not listed("whole")[0]["available"]
    (installation.registry / "said" / "model.safetensors").write_bytes(b"x")
    assert not listed("whole")[0]["available"], "nothing provides its parts' architecture"
    installation.plugin("toys")
    whole = listed("whole")[0]
    assert whole["available"] and whole["parameters"] == 0
    assert whole["bytes"] == 123 + listed("toy")[0]["bytes"], "those of its parts, which are to be fetched too"
    installation.entry("loop-a", parts={"base": "loop-b"})
    installation.entry("loop-b", parts={"base": "loop-a"})
    assert not listed("loop-a")[0]["available"]


def test_many_entries_of_each_other(installation, capsys):
    """Each is judged once, however many ways lead to it, and however long the way is."""
    installation.plugin("toys")
    names = [f"e{i}" for i in range(26)]
    for name, below in zip(names, [*names[1:], None], strict=True):
        installation.entry(name, parts={"a": below, "b": below} if below else None)
    for i in range(600):  # more than Python's stack is deep
        installation.entry(f"chain-{i}", parts={"next": f"chain-{i + 1}"} if i < 599 else None)
    listed()
    start = time.process_time()
    found = {m["name"]: m["available"] for m in listed()}
    assert time.process_time() - start < 2
    assert all(found[name] for name in [*names, "chain-599", "chain-570"]) and not found["chain-0"]
    assert len(with_parts(registry.find("e0"))) == 26
    with pytest.raises(RegistryError, match="more than 32 deep"):
        with_parts(registry.find("chain-0"))


def test_what_a_part_lacks_the_whole_lacks(installation, capsys):
    """A plugin, weights that can be fetched, weights that are nowhere: the list says the worst of it."""
    installation.plugin("toys")
    installation.entry("lost", weights={})
    installation.entry("far", weights={"hub": {"repo": "a/b"}})
    installation.entry("strange", architecture="nobody-has-this")
    for name, parts in {
        "of-far": {"a": "far"},
        "of-lost": {"a": "far", "b": "lost"},
        "of-strange": {"a": "far", "b": "lost", "c": "strange"},
        "of-own": {"own": {"architecture": "nobody-has-this"}},
        "of-nothing": {"a": "no-such-entry"},
        "deep": {"a": "of-strange"},
    }.items():
        installation.entry(name, parts=parts)
    lines = {line.split()[0]: line for line in invoke(capsys, "list")[1].splitlines()}
    for name, state in {
        "far": "to pull", "of-far": "to pull", "lost": "missing", "of-lost": "missing", "of-nothing": "missing",
        "of-strange": "no plugin", "of-own": "no plugin", "deep": "no plugin", "strange": "no plugin",
    }.items():  # fmt: skip
        assert lines[name].endswith(state), lines[name]
        assert name == "strange" or not listed(name)[0]["available"]
        assert name == "strange" or not dgmcore.info(name)["available"]


@pytest.mark.parametrize("content", [b"", b"\xff" * 8, struct.pack("<Q", 4) + b"[1]}", struct.pack("<Q", 2) + b"[]"])
def test_a_damaged_weights_file_has_no_known_size(tmp_path, content):
    (tmp_path / "x").write_bytes(content)
    assert count_parameters(tmp_path / "x") is None


def test_weights_in_the_hub_cache_are_available(installation, monkeypatch):
    commit = "c" * 40
    hub = installation.folder / "hf" / "hub" / "models--user--repo"
    installation.entry("by-branch", weights={"hub": {"repo": "user/repo"}})
    installation.entry("by-commit", weights={"hub": {"repo": "user/repo", "revision": commit}})
    installation.entry("by-tag", weights={"hub": {"repo": "user/repo", "revision": "v1"}})

    def here():
        return [m["name"] for m in listed("by") if m["available"]]

    assert here() == []
    (hub / "snapshots" / commit).mkdir(parents=True)
    (hub / "snapshots" / commit / "model.safetensors").write_bytes(b"x")
    assert here() == ["by-commit"]
    (hub / "refs").mkdir()
    (hub / "refs" / "main").write_text(commit)
    assert here() == ["by-branch", "by-commit"]
    monkeypatch.setenv("HF_HUB_CACHE", str(installation.folder / "elsewhere"))
    assert here() == []


def test_info_says_everything(installation):
    installation.plugin("toys")
    installation.entry("toy", metrics=[{"name": "fid", "value": 2.5, "n": 10}], sampling={"steps": 3})
    info = dgmcore.info("toy")
    assert info["license"] == "mit" and info["metrics"][0]["value"] == 2.5 and info["family"] == "toys"
    assert info["options"] == {"steps": {"type": "any", "default": 3}} and info["origin"] == "environment"
    json.dumps(info)
    assert dgmcore.info(installation.registry / "toy")["origin"] == "folder"
