"""Plugins: what is wrong with one is said, and disturbs nothing else."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from installation import PLUGIN, invoke, invoke_json

import dgmcore
from dgmcore import plugins, registry
from dgmcore.cli.commands.plugins import trust
from dgmcore.errors import PluginError
from dgmcore.plugins import current, provided
from dgmcore.plugins.records import KINDS, Provides, hook_keys

ROOT = Path(__file__).parent.parent
HOOK = "from dgmcore.hookspecs import hookimpl\n"


def _record(name):
    return next(p for p in plugins.plugins() if p.name == name)


BROKEN = {
    "raises": ("raise RuntimeError('no\\nluck')", "broken", "RuntimeError: no luck", "line 1"),
    "missing": ("import no_such_package", "broken", "No module named 'no_such_package'", "install what provides"),
    "syntax": ("def f(:", "broken", "SyntaxError", ""),
    "exits": ("import sys; sys.exit(3)", "broken", "SystemExit: 3", ""),
    "dies": ("import os; os._exit(7)", "broken", "the interpreter ended with exit code 7", "fake_dies"),
    "crashes": ("import os; os.kill(os.getpid(), 11)", "broken", "the interpreter ended with signal 11", ""),
    "asks": ("import dgmcore; dgmcore.list_models()", "broken", "asks for the registry while it is imported", ""),
    "newer": ("PLUGIN_API = 99", "incompatible", "is written for PLUGIN_API 99, this dgmcore has 1", "upgrade dgmcore"),
    "older": ("PLUGIN_API = 0", "incompatible", "is written for PLUGIN_API 0", "set PLUGIN_API = 1"),
    "misspelled": (
        HOOK + "@hookimpl\ndef dgm_architecture(): return []",
        "broken", "there is no hook dgm_architecture", "did you mean dgm_architectures?",
    ),
    "undecorated": (
        "def dgm_architectures(): return []",
        "broken", "dgm_architectures in fake_undecorated is not marked as a hook", "hookimpl",
    ),
    "argument": (HOOK + "@hookimpl\ndef dgm_datasets(root): return []", "broken", "root", "hooks take no arguments"),
    "raising": (HOOK + "@hookimpl\ndef dgm_metrics(): 1 / 0", "broken", "dgm_metrics raised ZeroDivisionError", ""),
    "nolist": (HOOK + "@hookimpl\ndef dgm_metrics(): return {}", "broken", "dgm_metrics returned dict, not a list", ""),
    "nokey": (
        HOOK + "@hookimpl\ndef dgm_metrics(): return [{'name': 'm'}]",
        "broken", "lacks the key import", "keys: name, import",
    ),
    "wrongkey": (
        HOOK + "@hookimpl\ndef dgm_metrics(): return [{'name': 'm', 'import': 'a:b', 'sumary': 'x'}]",
        "broken", "unknown key 'sumary', did you mean summary?", "",
    ),
    "noimport": (
        HOOK + "@hookimpl\ndef dgm_metrics(): return [{'name': 'm', 'import': 'os.system'}]",
        "broken", "import must read module:name", "",
    ),
    "noclass": (
        PLUGIN.format(name="noclass", module="fake_noclass").replace(":Toy", ":Tay"),
        "broken", "architecture noclass: AttributeError", "",
    ),
    "nofolder": (HOOK + "@hookimpl\ndef dgm_registries(): return ['data']", "broken", "absolute path of a folder", ""),
}  # fmt: skip


def test_every_failure_is_one_plugin_s_own(installation, capsys):
    """All ways to fail at once: each is said, and the good plugin works."""
    for name, (source, *_) in BROKEN.items():
        installation.plugin(name, source)
    installation.plugin("good")
    installation.entry("toy-moons")
    found = {p["name"]: p for p in invoke_json(capsys, "plugins")}
    for name, (_, status, what, hint) in BROKEN.items():
        said = found[name]["errors"][0]
        assert found[name]["status"] == status, (name, said)
        assert what in said["what"] or what in said["hint"], (name, said)
        assert hint in said["hint"] or hint in said["what"], (name, said)
        assert "\n" not in said["what"] + said["hint"], name
    assert found["good"]["status"] == found["core"]["status"] == "ok"
    assert found["good"]["architectures"] == ["toy"]
    assert dgmcore.list_models("toy-moons")[0]["capabilities"] == ["generator", "critic"]
    code, out, err = invoke(capsys, "list", "toy")
    assert code == 0 and "toy-moons" in out and "misspelled" in err
    assert invoke(capsys, "--help")[0] == 0
    code, out, _ = invoke(capsys, "plugins")
    assert code == 0 and "dgm_architecture" in out and "did you mean dgm_architectures?" in out
    assert "Traceback" not in out and "Traceback" in invoke(capsys, "plugins", "--tracebacks")[1]


def test_what_a_plugin_prints_does_not_get_into_json(installation, capsys):
    installation.plugin(
        "loud", "import os\nprint('loud')\nos.system('echo louder')\n" + PLUGIN.format(name="toy", module="fake_loud")
    )
    assert [p["status"] for p in invoke_json(capsys, "plugins") if p["name"] == "loud"] == ["ok"]


def test_a_name_belongs_to_the_first_that_claims_it(installation, capsys):
    installation.plugin("a", architecture="shared")
    installation.plugin("b", architecture="shared")
    installation.plugin("c", HOOK + """
@hookimpl
def dgm_commands():
    return [{"name": n, "help": "x", "import": "fake_c:app"} for n in ("sample", "extra")]
@hookimpl
def dgm_datasets():
    return [{"name": "d", "import": "fake_c:d"}, {"name": "d", "import": "fake_c:d"}]
""")  # fmt: skip
    assert plugins.architectures()["shared"].plugin == "a"
    assert _record("a").status == "ok"
    assert _record("b").errors[0].what == "architecture shared is already provided by plugin a"
    assert [e.what for e in _record("c").errors] == [
        "dgm_datasets: d is there twice",
        "command sample is already provided by dgm itself",
    ]
    assert set(plugins.commands()) == {"extra"}
    assert plugins.architecture("shared").__module__ == "fake_a"


def test_two_distributions_with_one_plugin_name(installation):
    installation.plugin("a")
    installation.distribution("other-dist", {"a": "fake_a"})
    first, second = (p for p in plugins.plugins() if p.name == "a")
    assert (first.source.distribution, first.status) == ("dgm-a", "ok")
    assert (second.source.distribution, second.status) == ("other-dist", "broken")
    assert "the plugin name a is taken by dgm-a" in second.errors[0].what


def test_a_plugin_that_repeats_a_bundled_name(installation, monkeypatch):
    shelf = installation.folder / "shelf"
    bundled = current.index().rows[0].name if current.index().rows else None
    if bundled is None:
        pytest.skip("the bundled registry is empty")
    installation.entry(bundled, shelf)
    installation.plugin("a", HOOK + f"@hookimpl\ndef dgm_registries(): return [{str(shelf)!r}]")
    assert registry.find(bundled).origin == "core"
    assert f"its entry {bundled} repeats a name of the core's registry" in _record("a").errors[0].what


def test_a_model_of_a_broken_plugin_says_why(installation):
    installation.plugin("sick", "raise RuntimeError('fever')")
    with pytest.raises(
        PluginError, match=r"no plugin provides the architecture toy .*sick is broken: RuntimeError: fever"
    ):
        plugins.architecture("toy")
    installation.plugin("lazy", PLUGIN.format(name="late", module="late_module"))
    with pytest.raises(PluginError, match="plugin lazy: architecture late can't be imported"):
        plugins.architecture("late")


def test_dgm_plugins_limits_what_is_loaded(installation, monkeypatch, capsys):
    installation.plugin("a", architecture="alpha")
    installation.plugin("b", architecture="beta")
    for value, loaded in {"a": {"a"}, "a, dgm-b": {"a", "b"}, "": set(), "nobody": set()}.items():
        monkeypatch.setenv("DGM_PLUGINS", value)
        found = {p.name: p for p in plugins.plugins()}
        assert {n for n in ("a", "b") if found[n].status == "ok"} == loaded
        assert all(p.status in ("ok", "blocked") for p in found.values()) and found["core"].status == "ok"
    with pytest.raises(PluginError, match="alpha"):
        plugins.architecture("alpha")


def test_a_file_in_the_plugin_folder_is_a_plugin(installation, capsys, monkeypatch):
    monkeypatch.setenv("DGM_PLUGINS", "mine,bad,replay")
    folder = installation.data / "plugins"
    folder.mkdir(parents=True)
    (folder / "mine.py").write_text(
        PLUGIN.format(name="mine", module="{__name__}").replace('"{__name__}:Toy"', 'f"{__name__}:Toy"')
    )
    (folder / "_helper.py").write_text("raise RuntimeError")
    (folder / "notes.txt").write_text("x")
    (folder / "bad.py").write_text("import no_such_package")
    for name in ("mine", "bad"):
        trust(name)
    assert plugins.architectures()["mine"].capabilities == ["generator", "critic"]
    assert plugins.architecture("mine").__name__ == "Toy"
    found = {p["name"]: p for p in invoke_json(capsys, "plugins")}
    assert found["mine"]["kind"] == "file" and found["mine"]["location"] == str(folder / "mine.py")
    assert found["bad"]["status"] == "broken" and "_helper" not in found
    assert f"# copy the file {folder / 'mine.py'}" in invoke(capsys, "plugins", "--requirements")[1]


def test_a_file_runs_only_as_its_owner_trusted_it(installation, capsys):
    """Neither what came into the folder some other way, nor what has changed since, nor what lies in a cache there."""
    folder, mark = installation.data / "plugins", installation.folder / "executed"
    (folder / "__pycache__").mkdir(parents=True)
    evil = f"open({str(mark)!r}, 'w')\n"
    source = PLUGIN.format(name="mine", module="{__name__}").replace('"{__name__}:Toy"', 'f"{__name__}:Toy"')
    (folder / "mine.py").write_text(evil + source)
    found = {p["name"]: p for p in invoke_json(capsys, "plugins")}
    assert found["mine"]["status"] == "blocked" and found["mine"]["errors"][0]["hint"] == "dgm plugins --trust mine"
    for command in (["plugins"], ["list"]):
        code, out, err = invoke(capsys, *command)
        assert code == 0 and "mine.py is new or has changed" in out + err and "dgm plugins --trust mine" in out + err
    with pytest.raises(PluginError, match="dgm plugins --trust mine"):
        plugins.architecture("mine")
    assert not mark.exists()
    (folder / "mine.py").write_text(source)
    assert invoke(capsys, "plugins", "--trust", "mine")[0] == 0
    (folder / "__pycache__" / f"mine.{sys.implementation.cache_tag}.pyc").write_bytes(b"evil")
    assert plugins.architecture("mine").__name__ == "Toy"
    (folder / "mine.py").write_text(evil + source)
    assert "mine" not in plugins.architectures()
    for module in [m for m in sys.modules if m.startswith("dgm_user_plugins")]:
        del sys.modules[module]
    with pytest.raises(PluginError, match="does not run"):  # even if the index has not seen it
        plugins.import_string("dgm_user_plugins.mine:Toy")
    assert not mark.exists()
    code, _, err = invoke(capsys, "plugins", "--trust", "mien")
    assert code == 2 and "there is no file mien.py" in err and "did you mean mine.py" in err
    assert invoke(capsys, "plugins", "--trust", "../mine")[0] == 2


def test_requirements(installation, capsys, monkeypatch):
    monkeypatch.setenv("DGM_PLUGINS", "a,g,replay")
    installation.plugin("a")
    info = installation.distribution("from-git", {"g": "fake_a"}, "2.5")
    (info / "direct_url.json").write_text(
        '{"url": "https://example.org/x.git", "vcs_info": {"vcs": "git", "commit_id": "abc"}}'
    )
    lines = invoke(capsys, "plugins", "--requirements")[1].splitlines()
    assert "dgm-a==1.0" in lines and "from-git @ git+https://example.org/x.git@abc" in lines
    assert any(line.startswith("dgmcore==") for line in lines)


def test_a_command_of_a_plugin(installation, capsys):
    installation.plugin("extra", HOOK + """
import typer
app = typer.Typer()
@app.command()
def run(name: str, loud: bool = False):
    print(name.upper() if loud else name)
@hookimpl
def dgm_commands():
    return [{"name": "shout", "help": "Says it.", "import": "fake_extra:app"},
            {"name": "gone", "help": "Is gone.", "import": "fake_extra:nothing"}]
""")  # fmt: skip
    assert "Says it." in invoke(capsys, "--help")[1]
    assert invoke(capsys, "shout", "hi", "--loud")[:2] == (0, "HI\n")
    code, _, err = invoke(capsys, "gone")
    assert code == 1 and err.startswith("error: plugin extra: command gone can't be imported") and err.count("\n") == 2
    assert "did you mean shout" in invoke(capsys, "shot")[2]


def test_damaged_metadata_of_others_is_no_concern(installation):
    (installation.site / "junk-1.0.dist-info").mkdir()
    (installation.site / "junk-1.0.dist-info" / "entry_points.txt").write_bytes(b"[dgm\n\xff = = =")
    (installation.site / "empty-1.0.dist-info").mkdir()
    (installation.site / "file-1.0.dist-info").write_text("")
    installation.plugin("a")
    assert _record("a").status == "ok"


def test_the_table_of_kinds_is_all_there_is(installation, capsys):
    """Hookspecs, accessors and what `dgm plugins` says follow from it."""
    from dgmcore import hookspecs

    assert {f"dgm_{kind}" for kind in Provides.__struct_fields__} == {n for n in dir(hookspecs) if n.startswith("dgm_")}
    text = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
    said = invoke_json(capsys, "plugins")[0]
    for kind, record in KINDS.items():
        assert said[kind] == sorted(n for n, thing in getattr(plugins, kind)().items() if thing.plugin == "core")
        needed, optional = hook_keys(record)
        row = next(line for line in text.splitlines() if line.startswith(f"| `dgm_{kind}`"))
        assert [k for k in needed + optional if f"`{k}`" not in row] == []
    with pytest.raises(AttributeError):
        _ = plugins.nonsense


def test_what_brings_an_architecture_that_is_not_here(installation, capsys):
    """An entry says it, so the core needs no list of families."""
    installation.entry("flow-moons", architecture="spline", package="dgm-toys")
    here = {p.source.distribution for p in plugins.plugins()}  # blocked by $DGM_PLUGINS in these tests
    code, _, err = invoke(capsys, "sample", "flow-moons")
    assert code == 1 and err == "error: no plugin provides the architecture spline\nhint: pip install dgm-toys\n"
    assert "pip install dgm-toys" in invoke(capsys, "info", "flow-moons")[1]
    assert "dgm-toys is not installed: it brings spline" in invoke(capsys, "plugins")[1]
    for command, package in (
        ("train", "dgm-train"),
        ("eval", "dgm-eval"),
        ("push", "dgm-publish"),
        ("interpolate", "dgm-latent"),
    ):
        code, _, err = invoke(capsys, command, "x")
        assert code == 1 and err.endswith(
            f"hint: {'see `dgm plugins`' if package in here else f'pip install {package}'}\n"
        )
    installation.plugin("toys", "raise RuntimeError('fever')")
    assert "plugin toys is broken: RuntimeError: fever" in invoke(capsys, "sample", "flow-moons")[2]
    (installation.site / "fake_toys.py").write_text(PLUGIN.format(name="spline", module="fake_toys"))
    assert plugins.distribution_of("spline") == "dgm-toys"
    assert plugins.distribution_of("tilted") is None and plugins.distribution_of("nothing") is None


def test_what_comes_from_outside_is_shown_printable(installation, capsys):
    installation.plugin("toys", "raise RuntimeError('\\x1b[31mred\\u202e')")
    installation.entry("toy", license="\x1b[2Jmit", summary="\u202esummary", tags=["\x9b"])
    installation.entry("bad", **{"\x1b]0;title": 1})
    installation.entry("odd", summary="a model\nerror: forged", **{"key\nerror: forged": 1})
    installation.entry("lines", summary="a model\nerror: forged")
    keys = {"config": {"key\nerror: forged\r": {"key\nerror: forged": 1}}, "sampling": {"a\nerror: forged": 1}}
    installation.entry("keys", metrics=[{"name": "a\nerror: forged", "value": 1.0}], **keys)
    for command in (
        ["plugins", "--tracebacks"],
        ["doctor"],
        ["list"],
        ["info", "keys"],
        ["info", "toy"],
        ["info", "toy", "--json"],
        ["info", "bad"],
        ["info", "lines"],
    ):
        _, out, err = invoke(capsys, *command)
        assert "\nerror: forged" not in out + err, command
        assert all(line.isprintable() for line in (out + err).split("\n")), command
    assert invoke_json(capsys, "info", "toy")["license"] == "\x1b[2Jmit"


def test_what_a_model_raises_while_it_is_checked_is_shown_on_one_line(capsys):
    from dgm_authors.check_plugin import _print
    from dgm_authors.runner import Result

    _print([Result("toy", "samples-are-well-formed", "failed", "RuntimeError: \x1b[2J\u202e\nerror: forged")])
    out = capsys.readouterr().out
    assert "\nerror: forged" not in out and all(line.isprintable() for line in out.split("\n"))


def test_every_hook_is_documented():
    from dgmcore import hookspecs

    text = (Path(__file__).parent.parent / "docs" / "plugins.md").read_text(encoding="utf-8")
    for name in dir(hookspecs):
        if name.startswith("dgm_"):
            assert f"`{name}`" in text, name


def test_every_command_of_our_plugins_names_its_package_where_it_is_not_installed():
    """What the core says without a plugin, against what the plugins of this repository say of themselves."""
    sources = {record.name: record.source for record in provided.plugins()}
    brought = {name: sources[c.plugin].distribution for name, c in provided.provided().commands.items()}
    ours = {name: package for name, package in brought.items() if (ROOT / "plugins" / (package or "-")).is_dir()}
    assert len(ours) >= 10
    assert {name: provided.PACKAGES.get(name) for name in ours} == ours
