"""Plugins' metadata and the caches made of them: whatever is there, the other plugins work and nothing is half-read."""

from __future__ import annotations

import sys
import types

import msgspec
import pytest
from fuzzing import CORPORA, VALUES, judging
from installation import PLUGIN, forget, invoke, invoke_json, listed

from dgmcore import plugins
from dgmcore.hookspecs import hookimpl
from dgmcore.plugins import current, describe, index, isolate, sources
from dgmcore.plugins.records import KINDS, Source, hook_keys

HOOKS = {
    "dgm_architectures": [
        {"name": "toy", "family": "toys", "import": "fuzzed_plugin:Toy", "summary": "A toy", "paper": "https://x.org"},
        {"name": "boy", "family": "toys", "import": "fuzzed_plugin:Toy.inner"},
    ],
    "dgm_datasets": [{"name": "dots", "import": "fuzzed_plugin:dots", "summary": "Dots"}],
    "dgm_metrics": [{"name": "fod", "import": "fuzzed_plugin:fod"}],
    "dgm_features": [{"dataset": "dots", "entry": "toy-dots"}],
    "dgm_converters": [{"format": "toy-pt", "import": "fuzzed_plugin:convert", "license": "mit"}],
    "dgm_commands": [{"name": "shout", "help": "Says it.", "import": "fuzzed_plugin:app"}],
    "dgm_registries": ["/nowhere"],
}


def module(data: dict) -> types.ModuleType:
    """Makes a plugin whose hooks return data."""
    made = types.ModuleType("fuzzed_plugin")

    class Toy:
        Parts = data.get("Parts", {})
        inner = 3

        def sample(self, noise): ...

    made.Toy = Toy
    made.PLUGIN_API = data.get("PLUGIN_API", 1)
    for name, result in data.items():
        if name not in ("Parts", "PLUGIN_API"):
            function = lambda result=result: result  # noqa: E731
            function.__name__ = name
            setattr(made, name, hookimpl(function))
    return made


def test_fuzz_what_hooks_return(tmp_path, monkeypatch):
    """What a plugin says is a record that can be stored and shown, whatever it says."""
    source = Source("x", "installed", "fuzzed_plugin", "x", "x", "x")
    good = {**HOOKS, "PLUGIN_API": 1, "Parts": {"base": ["generator"]}}
    broken = 0
    with judging("hooks", tmp_path) as (mutate, judge):
        for _ in range(len(mutate)):
            data = mutate.tree(good)
            data = {k: v for k, v in data.items() if isinstance(k, str)} if isinstance(data, dict) else {}
            monkeypatch.setitem(sys.modules, "fuzzed_plugin", module(data))
            record = judge(lambda: describe.describe(source), data)
            assert isolate.answers([msgspec.json.encode(record)], [source]) == [record], data
            broken += record.status != "ok"
            for error in record.errors:
                assert error.what.isprintable() and len(error.what) <= 500 and error.hint, error
            for kind, struct in KINDS.items():
                found, key = msgspec.to_builtins(getattr(record.provides, kind)), hook_keys(struct)[0][0]
                assert all(name.isprintable() and name == r[key] for name, r in found.items()), found
    assert broken > CORPORA["hooks"] / 3 and judge.refused == 0


def test_fuzz_entry_points(tmp_path, monkeypatch):
    """Damaged metadata of one distribution is not seen; that of the others is."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "home"))
    site = tmp_path / "site"
    for name in ("good", "fuzzed"):
        info = site / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n\nText\n")
        (info / "entry_points.txt").write_text(
            f"[console_scripts]\nx = y:z\n\n[dgm]\n{name} = {name}.plugin:object [x]\n"
        )
    files = [site / "fuzzed-1.0.dist-info" / f for f in ("METADATA", "entry_points.txt")]
    goods = [f.read_bytes() for f in files]
    monkeypatch.setattr(sys, "path", [str(site)])
    with judging("entry points", tmp_path) as (mutate, judge):
        for i in range(len(mutate)):
            raw = mutate.bytes(goods[i % 2])
            files[i % 2].write_bytes(raw)
            files[1 - i % 2].write_bytes(goods[1 - i % 2])
            found = judge(sources.discover, raw)
            assert "good" in [s.name for s in found], raw
            msgspec.json.encode(found)
            for s in found[1:]:
                assert all(text.isprintable() for text in (s.name, s.value, s.distribution, s.version)), s


def test_fuzz_the_index(installation):
    """A damaged index is the whole one, or none."""
    installation.plugin("toys")
    installation.entry("toy-moons")
    listed()
    path = current.index().path
    with open(path, "rb") as file:
        good = file.read()
    with judging("index", installation.folder) as (mutate, judge):
        for _ in range(len(mutate)):
            raw = mutate.bytes(good)
            with open(path, "wb") as file:
                file.write(raw)
            found = judge(lambda: index.read(path), raw)
            assert found is None or found.content() == good
    forget()
    assert [m["name"] for m in listed()] == ["toy-moons"], "it is made anew"


def test_fuzz_the_records_of_plugins(installation):
    """What the process that loads plugins says."""
    installation.plugin("toys")
    said = next(p for p in plugins.plugins() if p.name == "toys")
    good = msgspec.json.encode(said)
    with judging("records", installation.folder) as (mutate, judge):
        for _ in range(len(mutate)):
            raw = mutate.bytes(good)
            found = judge(lambda raw=raw: isolate.answers([raw], [said.source]), raw)
            assert found == [] or found[0].source == said.source


HOSTILE = {
    "\x1b[31mred": "fake_good",
    "a b": "fake_good",
    "../../up": "fake_good",
    "empty": "",
    "spaces": "   ",
    "system": "os:system",
    "loads": "json:loads",
    "dots": "...:...",
    "missing": "no.such.module:thing",
    "attribute": "fake_good:no.such",
    "main": "__main__",
    "extras": "fake_good [x, y]",
    "brackets": "fake_good]][[",
    "x" * 3000: "fake_good",
    "long": "y" * 5000,
    "dunder": "fake_good:__class__.__bases__",
    "ünïcode": "fäke:ö",
    "%s%n{0}": "fake_good",
    "null": "fake_good:\u202eevil",
}


def test_weird_entry_points(installation, capsys, monkeypatch):
    """One distribution full of them: each is a record of its own, and the good plugin beside them works."""
    installation.plugin("good")
    installation.distribution("hostile", HOSTILE)
    monkeypatch.setenv("DGM_PLUGINS", "good,hostile,replay")  # which prints requirements
    found = {p["name"]: p for p in invoke_json(capsys, "plugins")}
    assert found["good"]["status"] == "ok" and found["good"]["architectures"] == ["toy"]
    hostile = [p for p in found.values() if p["distribution"] == "hostile"]
    assert len(hostile) >= 15 and all(p["status"] in ("ok", "broken") for p in hostile)
    for name in ("empty", "dots", "missing", "attribute", "long"):
        assert found[name]["status"] == "broken" and found[name]["errors"][0]["hint"], name
    for command in (["plugins"], ["plugins", "--tracebacks"], ["list"], ["--help"], ["plugins", "--requirements"]):
        code, out, err = invoke(capsys, *command)
        assert code == 0
        assert all(line.isprintable() for line in (out + err).replace("\t", " ").split("\n")), command
    assert plugins.architecture("toy").__module__ == "fake_good"


LIES = {
    "shouts": """
import os
for fd in range(1, 20):
    try: os.write(fd, b'{"name": "lie"}\\n')
    except OSError: pass
""",
    "closes": "import os\nos.closerange(3, 50)\n",
    "recursive": "x = []\nx.append(x)\nPLUGIN_API = x\n",
    "unspeakable": "class E(Exception):\n    def __str__(self): raise E()\n    __repr__ = __str__\nraise E()\n",
    "interrupts": "raise KeyboardInterrupt\n",
    "deep": "def f(): f()\nf()\n",
    "attributes": "def __getattr__(name): raise RuntimeError(name)\n",
}


@pytest.mark.parametrize("name", LIES)
def test_plugins_that_lie_or_fight(installation, capsys, name):
    installation.plugin("sick", LIES[name])
    installation.plugin("good", PLUGIN.format(name="toy", module="fake_good"))
    found = {p["name"]: p for p in invoke_json(capsys, "plugins")}
    assert found["good"]["status"] == found["core"]["status"] == "ok" and "lie" not in found
    assert found["sick"]["status"] in ("broken", "ok", "incompatible")
    assert found["sick"]["status"] == "ok" or found["sick"]["errors"][0]["what"].isprintable()


def test_the_corpora_are_as_large_as_promised():
    assert sum(CORPORA.values()) >= 10_000 and len(VALUES) > 40
