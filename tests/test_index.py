"""The index: what it is made from, when it is made anew, and that nothing can damage it for good."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from installation import PLUGIN, forget, invoke, listed

from dgmcore import plugins, registry
from dgmcore.plugins import current, index, isolate

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
        forget,
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
    assert next(p for p in plugins.plugins() if p.name == "sick").status == "broken"
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
    path = current.index().path
    with open(path, "rb+") as file:
        content = damage(file.read())
        file.seek(0)
        file.truncate()
        file.write(content)
    forget()
    assert [m["name"] for m in listed()] == ["toy"]
    assert registry.find("toy").entry.name == "toy"
    with open(path, "rb") as file:
        assert file.read() == current.index().content()


def test_damaged_records_of_plugins_are_made_anew(installation):
    imports = _counting(installation)
    _settle()
    listed()
    for path in (installation.cache / "index").iterdir():
        path.write_bytes(path.read_bytes()[:100])
    forget()
    assert "toy" in plugins.architectures() and imports() == 2


def test_without_a_cache_the_index_is_in_memory(installation, monkeypatch):
    monkeypatch.setenv("DGM_PLUGINS", "")
    installation.entry("toy")
    blocked = installation.folder / "blocked"
    blocked.write_text("a file where the folder should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    assert [m["name"] for m in listed()] == ["toy"]
    assert current.index().path is None and current.index() is current.index()


def test_environments_do_not_share_an_index(installation, monkeypatch):
    installation.entry("toy")
    assert len(listed()) == 1
    monkeypatch.setenv("DGM_REGISTRY", "")
    assert listed() == []
    monkeypatch.setenv("DGM_REGISTRY", str(installation.registry))
    assert len(listed()) == 1


def test_the_cache_does_not_grow_for_ever(installation, monkeypatch):
    folder = installation.cache / "index"
    for i in range(current.KEPT + 10):
        (folder / f"{i}.json").write_text("x")
        os.utime(folder / f"{i}.json", (i, i))
    (folder / ".left-behind.tmp").write_text("")
    os.utime(folder / ".left-behind.tmp", (0, 0))
    last = os.path.basename(current.index().path)
    names = set(os.listdir(folder))
    assert len(names) == current.KEPT and last in names and not {"0.json", ".left-behind.tmp"} & names


def test_a_plugin_that_hangs_is_waited_for_once(installation, monkeypatch):
    """It is broken for as long as it is what it was; `dgm doctor` tries again, and so does an edit."""
    held = installation.folder / "held"
    held.write_text("")
    wait = f"import os, time\nwhile os.path.exists({str(held)!r}): time.sleep(0.02)\n"
    installation.plugin("lazy", wait + PLUGIN.format(name="lazy", module="fake_lazy"))
    installation.plugin("good")
    _settle()
    monkeypatch.setattr(isolate, "PLUGIN_SECONDS", 3.0)
    lazy = next(p for p in plugins.plugins() if p.name == "lazy")
    assert lazy.status == "broken" and lazy.errors[0].what.startswith("nothing happened for 3 seconds")
    assert "`dgm doctor` tries again" in lazy.errors[0].hint
    assert next(p for p in plugins.plugins() if p.name == "good").status == "ok"
    monkeypatch.setattr(isolate, "PLUGIN_SECONDS", 120.0)
    held.unlink()
    for change in (forget, lambda: installation.entry("new"), lambda: installation.distribution("x", {})):
        change()  # another process, an entry, an installation
        assert "lazy" not in plugins.architectures()
    current.rebuild(anew=True)  # as `dgm doctor` does
    assert "lazy" in plugins.architectures()


@pytest.mark.skipif(not hasattr(os, "killpg"), reason="no signals that stop a process")
@pytest.mark.parametrize(
    "source",
    [
        "import os, signal\nos.kill(os.getpid(), signal.SIGSTOP)\n",
        "import faulthandler, time\nfaulthandler.cancel_dump_traceback_later()\ntime.sleep(600)\n",
    ],
    ids=["stops its process", "stops the watch"],
)
def test_a_plugin_that_stops_what_watches_it(installation, monkeypatch, source):
    listed()  # the core is known from here on
    installation.plugin("lazy", source + PLUGIN.format(name="lazy", module="fake_lazy"))
    _settle()
    monkeypatch.setattr(isolate, "PLUGIN_SECONDS", 1.0)
    for _ in range(2):
        lazy = next(p for p in plugins.plugins() if p.name == "lazy")
        assert lazy.status == "broken" and lazy.errors[0].what.startswith("nothing happened for 1 seconds")
        monkeypatch.setattr(isolate, "load", lambda sources: pytest.fail("it is waited for once"))
        forget()


LISTED = "from dgmcore.cli import main; raise SystemExit(main(['list']))"


def test_nothing_of_the_current_folder_is_imported(installation):
    """Whatever lies there, and whichever way `dgm` is started; `-P` is what a script has."""
    installation.plugin("toys")
    installation.entry("toy-moons")
    mark = installation.folder / "executed"
    for name in ("json", "re", "pluggy", "msgspec", "dgm_toys", "usercustomize"):
        (installation.work / f"{name}.py").write_text(
            f"open({str(mark)!r}, 'w').write(__name__)\nraise SystemExit(7)\n"
        )
    (installation.work / "evil-1.0.dist-info").mkdir()
    (installation.work / "evil-1.0.dist-info" / "entry_points.txt").write_text("[dgm]\na = json\n")
    done = installation.run("-P", "-c", LISTED, python=True)
    assert done.returncode == 0 and "toys" in done.stdout and done.stderr == "", done
    (installation.work / "re.py").unlink()  # which Python itself imports for `-m` before it comes to us
    done = installation.run("list", XDG_CACHE_HOME=str(installation.folder / "another"))
    assert done.returncode == 0 and "toys" in done.stdout and done.stderr == "", done
    assert not mark.exists()


def test_child_interpreters_are_started_in_one_place():
    """By :func:`dgmcore.plugins.isolate.python`, which lets them import nothing of the current folder."""
    root = Path(__file__).parent.parent
    sources = [*(root / "dgmcore").rglob("*.py"), *(root / "plugins").glob("*/src/**/*.py")]
    named = {p.name for p in sources if "sys.executable" in p.read_text(encoding="utf-8")}
    assert named == {"isolate.py"}


@pytest.mark.parametrize("bad", ["memory", "folder", "start"])
def test_a_bad_moment_is_not_remembered(installation, bad):
    """Where the core or the machine fails, no plugin is blamed for longer than one command."""
    installation.plugin("toys")
    installation.entry("toy-moons")
    run = f"{sys.executable} -P -c {shlex.quote(LISTED)}"
    script = {
        "memory": f"ulimit -v 600000; {run}",
        "folder": f"mkdir gone; cd gone; rmdir ../gone; {run}",
        "start": f"TMPDIR=/nowhere; export TMPDIR; mkdir gone; cd gone; chmod 555 .; {run}",
    }[bad]
    path = os.pathsep.join([str(installation.site), os.path.dirname(os.path.dirname(__file__))])
    how = {
        "env": {**os.environ, **installation.environment, "PYTHONPATH": path},
        "cwd": installation.work, "capture_output": True, "text": True,
    }  # fmt: skip
    shutil.rmtree(installation.cache)  # or else the core is not loaded at all
    done = subprocess.run(["bash", "-c", script], **how)
    assert done.returncode == 0 and ("plugin core" in done.stderr or bad != "memory"), done
    later = subprocess.run(["bash", "-c", run], **how)
    assert "toys" in later.stdout and later.stderr == "", later


@pytest.mark.parametrize("number", [15, 24])
def test_a_process_that_is_ended_from_outside_is_tried_again(installation, number):
    mark = str(installation.folder / "ended")
    once = f"import os\nif not os.path.exists({mark!r}):\n    os.mkdir({mark!r})\n    os.kill(os.getpid(), {number})\n"
    installation.plugin("toys", once + PLUGIN.format(name="toy", module="fake_toys"))
    _settle()
    for status in ("broken", "ok"):
        forget()
        assert {p.name: p.status for p in plugins.plugins()}["toys"] == status


def test_a_process_that_fails_is_no_fault_of_plugins(installation, monkeypatch):
    installation.plugin("toys")
    with monkeypatch.context() as patch:
        patch.setattr(isolate, "python", lambda code: ([sys.executable, "-c", "raise SystemExit(3)"], {**os.environ}))
        current.rebuild(anew=True)
        assert current.index().path is None
        for plugin in plugins.plugins():
            said = "plugins can't be loaded: the interpreter ended with exit code 3"
            assert plugin.errors[0].what in (said, "not named in DGM_PLUGINS")
    forget()
    assert "toy" in plugins.architectures() and current.index().path is not None


def test_a_plugin_that_leaves_processes_behind(installation):
    """They hold no command up, and are gone with it."""
    held = installation.folder / "pid"
    # the parent writes: the child may be gone before it has
    write = f"open({str(held)!r}, 'w').write(str(child))"
    fork = f"import os, time\nif child := os.fork():\n    {write}\nelse:\n    time.sleep(300)\n"
    installation.plugin("toys", fork + PLUGIN.format(name="toy", module="fake_toys"))
    installation.plugin("dies", fork + "os._exit(7)\n")
    start = time.monotonic()
    found = {p.name: p for p in plugins.plugins()}
    assert time.monotonic() - start < 60
    assert found["toys"].status == "ok" and "exit code 7" in found["dies"].errors[0].what
    state = Path(f"/proc/{int(held.read_text())}/stat")
    for _ in range(100):
        if not state.exists() or state.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("it is alive")


def test_one_command_looks_at_each_file_once(installation, monkeypatch, capsys):
    installation.plugin("toys")
    for i in range(5):
        installation.entry(f"toy-{i}", parts={"base": "toy-0"} if i else None)
    _settle()
    listed()
    _settle()
    listed()  # a rebuild that was too close to an edit is repeated by the next command
    looked_at = []
    real = index.file_state
    monkeypatch.setattr(index, "file_state", lambda path: looked_at.append(path) or real(path))
    for command in (["list"], ["info", "toy-1"], ["plugins"], ["list", "--family", "toys", "--json"]):
        looked_at.clear()
        assert invoke(capsys, *command)[0] == 0
        assert len(looked_at) == len(set(looked_at)) > 5, command


def test_one_edit_reads_one_entry(installation, monkeypatch):
    from dgmcore.plugins import compile as compiling

    for i in range(20):
        installation.entry(f"toy-{i}")
    _settle()
    listed()
    read = []
    monkeypatch.setattr(compiling, "read_entry", lambda path: read.append(path) or registry.read_entry(path))
    folder = installation.entry("toy-7", summary="another")
    assert registry.find("toy-7").entry.summary == "another" and read == [str(folder / "model.yaml")]
    before = os.stat(folder / "model.yaml")
    installation.entry("toy-7", summary="a_other")  # an edit that hides: of the same size and time
    os.utime(folder / "model.yaml", ns=(before.st_atime_ns, before.st_mtime_ns))
    assert registry.find("toy-7").entry.summary == "a_other"


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
    assert not [n for n in os.listdir(installation.cache / "index") if n.endswith(".tmp")]


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
