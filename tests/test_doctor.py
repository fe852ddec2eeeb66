"""`dgm doctor` on installations that are broken on purpose: each time it names what is wrong, and what to do."""

from __future__ import annotations

import hashlib
import os
import shutil
import sys
import tempfile
from collections import namedtuple

from installation import invoke, invoke_json

from dgmcore.cli import installation as doctor
from dgmcore.cli.commands.plugins import trust

Usage = namedtuple("Usage", "total used free")


def findings(*topics, status=("warn", "fail")):
    return [f for f in doctor.examine(*topics) if f.status in status]


def one(found, subject, *words, status="fail"):
    """Asserts that there is one finding of a subject with certain words, and that it says what to do."""
    some = [f for f in found if f.subject == subject and all(w in f.text for w in words)]
    assert len(some) == 1 and some[0].status == status and some[0].hint, (subject, words, found)


def test_nothing_is_wrong_with_this_one(installation, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.delenv("DGM_DATA", raising=False)
    assert findings("versions", "settings", "device", status=("fail",)) == []
    assert {f.subject for f in doctor.examine("versions")} >= {"python", "dgmcore", "torch", "msgspec", "typer"}


# --- versions ---------------------------------------------------------------------------------------


def test_packages_that_are_missing_too_old_or_too_new(installation):
    info = installation.distribution("dgmcore", {}, "0.0.9")
    wants = ["no-such-package>=2", "numpy>=999", "typer<0.0.1", "nonsense >> 3", "skipped; extra == 'dev'"]
    lines = "".join(f"Requires-Dist: {w}\n" for w in wants) + "Requires-Python: >=4\n"
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: dgmcore\nVersion: 0.0.9\n{lines}")
    found = findings("versions")
    one(found, "no-such-package", "is not installed")
    one(found, "numpy", "does not fit >=999")
    one(found, "typer", "does not fit <0.0.1")
    one(found, "python", "does not fit >=4, which dgmcore wants")
    one(found, "dgmcore", "0.0.9 is installed, but")
    assert not [f for f in found if f.subject in ("nonsense", "skipped")]


def test_a_package_that_only_a_plugin_wants(installation):
    installation.plugin("toys")
    info = installation.site / "dgm_toys-1.0.dist-info"
    with open(info / "METADATA", "a") as file:
        file.write("Requires-Dist: dgmcore>=99\nRequires-Dist: torchdrug>=1\n")
    found = findings("versions")
    one(found, "dgmcore", "does not fit >=99, wanted by dgm-toys")
    one(found, "torchdrug", "is not installed, wanted by dgm-toys")


def test_dgmcore_that_is_not_installed(installation, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(installation.site)])
    one(findings("versions"), "dgmcore", "is not installed, only on the path")


# --- caches and disks -------------------------------------------------------------------------------


def test_places_that_cant_be_written(installation, monkeypatch):
    blocked = installation.folder / "blocked"
    blocked.write_text("a file where folders should be")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setenv("HF_HOME", str(blocked))
    monkeypatch.setattr(tempfile, "tempdir", str(blocked / "tmp"))
    gone = installation.work / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    shutil.rmtree(gone)
    found = findings("caches")
    one(found, "cache", str(blocked), status="warn")
    one(found, "hub cache", str(blocked))
    one(found, "temporary folder", str(blocked), status="warn")
    one(found, "current folder", "No such file", status="warn")
    os.chdir(installation.work)


def test_a_disk_that_is_nearly_full(installation, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda place: Usage(10**12, 10**12 - 10**6, 10**6))
    found = findings("caches")
    assert {f.subject for f in found} == {"cache", "hub cache", "current folder", "temporary folder"}
    assert all("only 1.0 MB free" in f.text and f.hint for f in found)


# --- plugins and entries ----------------------------------------------------------------------------


def test_plugins_and_entries_of_all_kinds(installation, monkeypatch, capsys):
    installation.plugin("sick", "raise RuntimeError('fever')")
    installation.plugin("missing", "import no_such_package")
    installation.plugin("newer", "PLUGIN_API = 99")
    installation.plugin("toys")
    (installation.data / "plugins").mkdir(parents=True)
    (installation.data / "plugins" / "bad.py").write_text("def f(:")
    trust("bad")
    monkeypatch.setenv("DGM_PLUGINS", "sick,missing,newer,toys,bad,toyz")
    monkeypatch.setenv("DGM_REGISTRY", os.pathsep.join([str(installation.registry), "/nowhere"]))

    def weights(name, content, **stated):
        folder = installation.entry(name, weights={"size": len(content), **stated})
        (folder / "model.safetensors").write_bytes(content)

    weights("cut", b"x" * 40, size=100)
    weights("flipped", b"x" * 40, sha256="ab" * 32)
    weights("pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:1\n", size=10**6)
    weights("nonsense", b"x" * 40, sha256=hashlib.sha256(b"x" * 40).hexdigest())
    installation.entry("lost", weights={})
    installation.entry("orphan", architecture="nobody-has-this")
    installation.entry("apart", parts={"base": "gone"})
    installation.entry("above", parts={"base": "orphan", "own": {"architecture": "nor-this"}})
    installation.entry("wrong", colour="red")
    found = findings("index")
    one(found, "plugin sick", "broken: RuntimeError: fever")
    one(found, "plugin missing", "No module named 'no_such_package'")
    one(found, "plugin newer", "incompatible: ", "PLUGIN_API 99")
    one(found, "plugin bad", "SyntaxError")
    one(found, "DGM_PLUGINS", "there is no plugin toyz")
    one(found, "DGM_REGISTRY", "there is no folder /nowhere")
    one(found, "entry environment/cut", "it has 40 bytes, not 100")
    one(found, "entry environment/flipped", "its sha256 is")
    one(found, "entry environment/pointer", "is a pointer of git-lfs")
    one(found, "entry environment/nonsense", "is no valid safetensors file")
    one(found, "entry environment/lost", "are missing", status="warn")
    one(found, "entry environment/orphan", "no plugin provides the architecture nobody-has-this", status="warn")
    one(found, "entry environment/apart", "its part gone is no model here", status="warn")
    one(found, "entry environment/above", "nobody-has-this of its part orphan", status="warn")
    one(found, "entry environment/above", "no plugin provides the architecture nor-this", status="warn")
    one(found, "entry", "unknown key colour")
    assert not [f for f in found if f.subject == "plugin toys"]


def test_an_index_that_cant_be_stored(installation, monkeypatch):
    blocked = installation.folder / "blocked"
    blocked.write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(blocked))
    monkeypatch.setenv("DGM_PLUGINS", "")
    one(findings("index"), "index", "could not be stored", status="warn")


# --- settings and devices ---------------------------------------------------------------------------


def test_settings(installation, monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "hub.example")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("DGM_DATA", f"/nowhere{os.pathsep}{installation.work}")
    found = findings("settings")
    one(found, "HF_ENDPOINT", "hub.example is no address")
    one(found, "HF_HUB_OFFLINE", "switched off", status="warn")
    one(found, "DGM_DATA", "there is no folder /nowhere")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@hub.example")
    assert not any("secret" in f.text for f in doctor.examine("settings"))


def test_torch_that_is_missing_or_broken(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    one(findings("device"), "torch", "can't be imported")


def test_a_device_that_fails(monkeypatch):
    import torch

    def fail(i):
        raise RuntimeError("CUDA error: no kernel image is available\nmore lines")

    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    monkeypatch.setattr(torch.cuda, "get_device_name", fail)
    monkeypatch.setattr(torch, "zeros", lambda *a, **k: torch.ones(1))
    found = findings("device")
    one(found, "device", "CUDA error: no kernel image is available")
    assert "more lines" not in found[0].text


def test_numpy_that_does_not_fit_torch(monkeypatch):
    import torch

    def fail(*args):
        raise RuntimeError("Numpy is not available")

    monkeypatch.setattr(torch, "ones", fail)
    one(findings("device"), "torch", "does not work with numpy")


def test_a_check_that_fails_itself_is_a_finding(monkeypatch, capsys):
    monkeypatch.setitem(doctor.TOPICS, "device", lambda: 1 / 0)
    one(findings("device"), "device", "ZeroDivisionError")


def test_the_command_says_what_to_do_and_fails(installation, monkeypatch, capsys):
    for topic in ("versions", "index", "device"):
        monkeypatch.delitem(doctor.TOPICS, topic)
    monkeypatch.setenv("DGM_DATA", "/nowhere")
    code, out, _ = invoke(capsys, "doctor")
    assert code == 1 and "fail  DGM_DATA: there is no folder /nowhere\n      correct the variable" in out
    assert "1 thing to mend" in out
    monkeypatch.delenv("DGM_DATA")
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    assert "All is well." in invoke(capsys, "doctor")[1]
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert "Nothing is broken. Warnings: 1." in invoke(capsys, "doctor")[1]
    monkeypatch.delenv("HF_HUB_OFFLINE")
    assert {f["status"] for f in invoke_json(capsys, "doctor")} <= {"ok", "warn"}
