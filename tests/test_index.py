"""The index: what it is made from, when it is made anew, and that nothing can damage it for good."""

from __future__ import annotations

import os
import subprocess
import sys
import time

import pytest
from installation import PLUGIN, listed

from dgmcore import plugins, registry
from dgmcore.plugins import index

COUNTED = "open({file!r}, 'a').write('x')\n"


def _counting(installation, name="toys", architecture="toy"):
    """Installs a plugin that leaves a mark at each import; returns how often that was."""
    file = str(installation.folder / f"{name}.log")
    source = COUNTED.format(file=file) + PLUGIN.format(name=architecture, module=f"fake_{name}")
    installation.plugin(name, source)
    return lambda: os.path.getsize(file) if os.path.exists(file) else 0


def _settle():
    time.sleep(0.03)  # a file younger than this is read again the next time


def test_a_plugin_is_imported_after_an_install_or_an_edit_only(installation):
    imports = _counting(installation)
    other = _counting(installation, "other", "alpha")
    installation.entry("toy-a")
    _settle()
    assert listed("toy-a")[0]["family"] == "toys" and imports() == 1
    for change in (
        lambda: None,
        lambda: installation.entry("toy-b"),
        lambda: (installation.site / "a-picture.png").write_text("x"),
        lambda: installation.distribution("unrelated", {}),
        lambda: index._memory.clear(),
    ):
        change()
        _settle()
        listed()
        assert imports() == 1
    assert [m["name"] for m in listed("toy")] == ["toy-a", "toy-b"]
    path = installation.site / "fake_toys.py"
    path.write_text(path.read_text().replace('"family": "toys"', '"family": "games"'))
    _settle()
    assert listed("toy-a")[0]["family"] == "games" and imports() == 2 and other() == 1


def test_every_change_is_seen_at_once(installation):
    _counting(installation)

    def seen():
        return {m["name"]: m["dataset"] for m in listed()}

    assert seen() == {}
    installation.entry("toy")
    assert seen() == {"toy": "moons"}
    for dataset in ("rings", "waves", "moons", "lines"):  # of one length, within one tick of the clock
        installation.entry("toy", data={"dataset": dataset, "event_shape": [2]})
        assert seen() == {"toy": dataset}
    (installation.registry / "later").mkdir()
    assert set(seen()) == {"toy"}
    installation.entry("later")
    assert set(seen()) == {"toy", "later"}
    (installation.registry / "later" / "model.yaml").unlink()
    assert set(seen()) == {"toy"}
    installation.entry("mine", installation.data / "registry")
    assert set(seen()) == {"mine", "toy"}
    installation.plugin("new", architecture="new")
    assert "new" in plugins.architectures()
    (installation.site / "dgm_new-1.0.dist-info" / "entry_points.txt").unlink()
    (installation.site / "dgm_new-1.0.dist-info" / "METADATA").unlink()
    (installation.site / "dgm_new-1.0.dist-info").rmdir()
    assert "new" not in plugins.architectures()


def test_a_broken_plugin_is_tried_again_when_anything_was_installed_or_mended(installation, monkeypatch):
    source = "import fake_dependency\n" + PLUGIN.format(name="toy", module="fake_toys")
    installation.plugin("toys", source)
    assert "toy" not in plugins.architectures()
    elsewhere = installation.folder / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "fake_dependency.py").write_text("x = 1")
    monkeypatch.syspath_prepend(str(elsewhere))
    assert "toy" in plugins.architectures()
    (elsewhere / "fake_dependency.py").unlink()  # what works is not imported again
    assert "toy" in plugins.architectures()
    installation.plugin("sick", "raise RuntimeError")
    assert next(p for p in plugins.plugins() if p["name"] == "sick")["status"] == "broken"
    (installation.site / "fake_sick.py").write_text(PLUGIN.format(name="well", module="fake_sick"))
    assert "well" in plugins.architectures()


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-3],
        lambda content: b"\xff" + content,
        lambda content: b"{}\n",
        lambda content: b"[]\n",
        lambda content: content.replace(b'"format":', b'"farmat":'),
        lambda content: content.replace(b'"moons"', b'"noons"'),
    ],
)
def test_a_damaged_index_is_made_anew(installation, damage):
    installation.entry("toy")
    listed()
    path = index.current().path
    with open(path, "rb+") as file:
        content = damage(file.read())
        file.seek(0)
        file.truncate()
        file.write(content)
    index._memory.clear()
    assert [m["name"] for m in listed()] == ["toy"]
    assert registry.find("toy").entry.name == "toy"
    with open(path, "rb") as file:
        assert file.read() == index.current().bytes()


def test_damaged_records_of_plugins_are_made_anew(installation):
    imports = _counting(installation)
    listed()
    for path in (installation.cache / "plugins").iterdir():
        if b"fake_toys" in path.read_bytes():
            path.write_bytes(path.read_bytes()[:100])
    os.unlink(index.current().path)
    index._memory.clear()
    assert "toy" in plugins.architectures() and imports() == 2


def test_without_a_cache_the_index_is_in_memory(installation, monkeypatch):
    monkeypatch.setenv("DGM_PLUGINS", "")
    installation.entry("toy")
    blocked = installation.folder / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert [m["name"] for m in listed()] == ["toy"]
    assert index.current().path is None and index.current() is index.current()


def test_environments_do_not_share_an_index(installation, monkeypatch):
    installation.entry("toy")
    assert len(listed()) == 1
    monkeypatch.setenv("DGM_REGISTRY", "")
    assert listed() == []
    monkeypatch.setenv("DGM_REGISTRY", str(installation.registry))
    assert len(listed()) == 1


def test_the_cache_does_not_grow_for_ever(installation, monkeypatch):
    from dgmcore.plugins import compile as indexing

    folder = installation.cache / "index"
    for i in range(indexing.KEPT_FILES + 10):
        assert indexing.write_cache(str(folder / f"{i}.jsonl"), b"x")
        os.utime(folder / f"{i}.jsonl", (i, i))
    (folder / ".new-left-behind").write_text("")
    os.utime(folder / ".new-left-behind", (0, 0))
    indexing.write_cache(str(folder / "last.jsonl"), b"x")
    names = set(os.listdir(folder))
    assert len(names) == indexing.KEPT_FILES and "last.jsonl" in names and "0.jsonl" not in names


def test_a_timeout_is_not_remembered(installation, monkeypatch):
    """A busy machine is no fault of the plugin: the next command tries again, this one does not."""
    from dgmcore.plugins import compile as indexing

    held = installation.folder / "held"
    held.write_text("")
    wait = f"import os, time\nwhile os.path.exists({str(held)!r}): time.sleep(0.02)\n"
    installation.plugin("lazy", wait + PLUGIN.format(name="lazy", module="fake_lazy"))
    monkeypatch.setattr(indexing, "PLUGIN_SECONDS", 1.0)
    lazy = next(p for p in plugins.plugins() if p["name"] == "lazy")
    assert lazy["status"] == "broken" and lazy["errors"][0]["what"].startswith("nothing happened for 1 seconds")
    assert "the next command tries again" in lazy["errors"][0]["hint"]
    held.unlink()
    _settle()
    assert index.current() is index.current() and "lazy" not in plugins.architectures(), "one wait for each command"
    index._memory.clear()  # as another process does
    monkeypatch.setattr(indexing, "PLUGIN_SECONDS", 120.0)
    assert "lazy" in plugins.architectures()


def test_concurrent_rebuilds_agree(installation):
    """Four processes find no index, and a fifth damages it while they work: all list the same."""
    installation.plugin("toys")
    for i in range(5):
        installation.entry(f"toy-{i}")
    code = "import dgmcore, json; print(json.dumps([m['name'] for m in dgmcore.list_models()]))"
    env = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(installation.site), os.path.dirname(os.path.dirname(__file__))]),
    }
    running = [
        subprocess.Popen([sys.executable, "-c", code], env=env, cwd=installation.work, stdout=subprocess.PIPE)
        for _ in range(4)
    ]
    said = {process.communicate(timeout=120)[0] for process in running}
    assert len(said) == 1 and b'"toy-4"' in next(iter(said))
    assert not [n for n in os.listdir(installation.cache / "index") if n.startswith(".new-")]


HEAVY = """
import torch
from dgmcore.hookspecs import hookimpl

@hookimpl
def dgm_architectures():
    return [{"name": "heavy", "family": "toys", "import": "fake_heavy:Toy"}]

class Toy(torch.nn.Module):
    def sample(self, noise): ...
"""


def test_listing_imports_nothing_heavy(installation):
    """Not even with a plugin that imports torch at its top, and not even for the first time."""
    installation.plugin("heavy", HEAVY)
    installation.entry("toy", architecture="heavy")
    code = """
import sys
from dgmcore.cli import main
for args in (["list"], ["list", "--json"], ["plugins"], ["--help"], ["info", "toy"]):
    assert main(args) == 0, args
heavy = {"torch", "numpy", "huggingface_hub", "yaml", "pydantic", "safetensors", "PIL", "fake_heavy", "dgm_flows"}
print("loaded:", sorted(heavy & set(sys.modules)))
"""
    first = installation.run("-c", code, python=True)
    assert "loaded: []" in first.stdout.replace("'yaml'", ""), first.stdout + first.stderr
    second = installation.run(
        "-c", code.replace("heavy = {", "heavy = {'pluggy', 'dgmcore.plugins.compile', "), python=True
    )
    assert "loaded: []" in second.stdout, second.stdout + second.stderr
    assert '"capabilities": [\n      "generator"\n    ]' in second.stdout
