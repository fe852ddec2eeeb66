"""The frame of the command line: help, errors, exit codes, completion, signals."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest
from installation import invoke, invoke_json, listed

from dgmcore import __version__
from dgmcore.cli import failures
from dgmcore.cli.set_options import parse_set
from dgmcore.console import count, progress, size
from dgmcore.errors import DgmError, OptionError
from dgmcore.plugins.core_commands import COMMANDS


def test_version_and_help(installation, capsys):
    assert invoke(capsys, "--version") == (0, f"dgm {__version__}\n", "")
    for args in (["--help"], []):
        code, out, err = invoke(capsys, *args)
        assert (code, err) == (0, "")
        for name, (_, line) in COMMANDS.items():
            assert name in out and line[:40] in out
    code, out, _ = invoke(capsys, "list", "--help")
    assert code == 0 and "--dataset" in out and "density" in out


@pytest.mark.parametrize(
    ("args", "what", "hint"),
    [
        (["lst"], "there is no command lst", "did you mean list"),
        (["list", "--famly", "x"], "`dgm list` has no option --famly", "did you mean --family"),
        (["list", "--family"], "requires an argument", "`dgm list --help`"),
        (["list", "a", "b"], "extra argument", "`dgm list --help`"),
        (["info"], "Missing argument", "`dgm info --help`"),
        (["--xyz"], "`dgm` has no option --xyz", "`dgm --help`"),
        (["list", "--family", "floes"], "there is no family floes", ""),
        (["list", "--can", "densty"], "there is no capability densty", "did you mean density"),
    ],
)
def test_wrong_usage_is_two_lines_and_exit_code_2(installation, capsys, args, what, hint):
    code, out, err = invoke(capsys, *args)
    first, second = err.splitlines()
    assert (code, out) == (2, "")
    assert first.startswith("error: ") and what in first
    assert second.startswith("hint: ") and hint in second


def test_a_failure_is_two_lines_and_exit_code_1(installation, capsys):
    installation.entry("vae-moons")
    code, out, err = invoke(capsys, "info", "vae-mons")
    assert (code, out, err.count("\n")) == (1, "", 2)
    assert err.startswith("error: there is no model vae-mons\nhint: did you mean vae-moons")
    for args in (["--debug", "info", "vae-mons"], ["info", "vae-mons", "--debug"]):
        with pytest.raises(DgmError):
            invoke(capsys, *args)


@pytest.mark.parametrize(
    ("error", "code", "what", "hint"),
    [
        (OptionError("a", "b"), 2, "a", "b"),
        (DgmError("two\nlines\x1b[31m"), 1, "two lines?[31m", "--debug"),
        (OSError(28, "No space left on device", "x.npy"), 1, "x.npy: No space left on device", "disk space"),
        (PermissionError(13, "Permission denied", "/x"), 1, "/x: Permission denied", "--out"),
        (
            ModuleNotFoundError("No module", name="matplotlib.pyplot"),
            1,
            "matplotlib.pyplot is not",
            "pip install matplotlib",
        ),
        (MemoryError(), 1, "out of memory", "--batch-size"),
        (ValueError("odd"), 1, "ValueError: odd", "this is a bug"),
    ],
)
def test_any_exception_becomes_two_lines(capsys, error, code, what, hint):
    assert failures.report(error) == code
    first, second = capsys.readouterr().err.splitlines()
    assert what in first and hint in second


def test_list(installation, capsys):
    installation.plugin("toys")
    installation.entry("toy-moons", weights={"parameters": 1234567, "size": 4_900_000})
    installation.entry("toy-other", architecture="nobody")
    installation.entry("wrong", colour="red")
    code, out, err = invoke(capsys, "list", "toy*")
    assert code == 0 and "\x1b" not in out
    lines = [line.split() for line in out.splitlines()]
    assert lines[0] == ["name", "family", "data", "shape", "params", "size", "weights"]
    assert lines[1] == ["toy-moons", "toys", "moons", "2", "1.23M", "4.9", "MB", "missing"]
    assert lines[2][-2:] == ["no", "plugin"]
    assert err.count("\n") == 1 and "unknown key colour" in err
    models = invoke_json(capsys, "list", "toy")
    assert models == listed("toy")
    code, out, err = invoke(capsys, "list", "zzz")
    assert (code, out) == (0, "") and "no model matches" in err
    assert invoke_json(capsys, "list", "zzz") == []


def test_a_family_that_an_entry_is_of_and_nothing_installed_brings(installation, capsys):
    installation.entry("odd-moons", architecture="odd", package="dgm-odd")
    code, _, err = invoke(capsys, "list", "--family", "odd")
    assert code == 2 and err.splitlines()[-1] == "hint: pip install dgm-odd"


def test_info(installation, capsys):
    installation.plugin("toys")
    metric = {"name": "fid", "value": 2.5, "n": 10000, "features": "lenet", "command": "dgm eval toy --metric fid"}
    installation.entry("toy", metrics=[metric], sampling={"steps": 3}, summary="A toy of moons", tags=["tiny"])
    installation.entry("toy", installation.data / "registry")
    code, out, err = invoke(capsys, "info", "toy")
    assert (code, err) == (0, "")
    for text in ("A toy of moons", "generator, critic", "mit", "overrides", "user/toy", "steps", "tiny", "plugin toys"):
        assert text in out
    assert "2.5  (n 10000, features lenet)" in out and "$ dgm eval toy --metric fid" in out
    assert invoke_json(capsys, "info", "toy")["metrics"][0]["value"] == 2.5


def test_doctor(installation, capsys, monkeypatch):
    monkeypatch.setenv("DGM_PLUGINS", "")
    code, out, _ = invoke(capsys, "doctor")
    assert code == 0, out
    assert ("All is well" in out or "Nothing is broken" in out) and "device: cpu" in out
    installation.plugin("sick", "raise RuntimeError('fever')")
    folder = installation.entry("toy", weights={"size": 100}, parts={"base": "gone"})
    (folder / "model.safetensors").write_bytes(b"x" * 40)
    installation.entry("wrong", colour="red")
    monkeypatch.setenv("DGM_REGISTRY", os.pathsep.join([str(installation.registry), "/nowhere"]))
    monkeypatch.setenv("DGM_PLUGINS", "sick,sicc")
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@hub.example")
    code, out, _ = invoke(capsys, "doctor")
    assert code == 1
    for text in (
        "fever",
        "it has 40 bytes, not 100",
        "unknown key colour",
        "/nowhere",
        "no plugin sicc",
        "gone",
    ):
        assert text in out
    assert "secret" not in out


def _complete(installation, line):
    """Asks as bash does."""
    words = line.split(" ")
    completion = {"_DGM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = "import sys, atexit\nfrom dgmcore.cli import main\n"
    code += "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\nmain([])"
    done = installation.run("-c", code, python=True, **completion)
    assert done.stderr.endswith("False\n"), done.stderr
    return done.stdout.split()


def test_completion(installation):
    installation.plugin("toys")
    installation.entry("toy-moons")
    installation.entry("toy-rings")
    assert _complete(installation, "dgm in") == ["info"]
    assert _complete(installation, "dgm info toy-") == ["toy-moons", "toy-rings"]
    assert _complete(installation, "dgm list --family t") == ["toys"]
    assert _complete(installation, "dgm list --can cr") == ["critic"]


def test_a_reader_that_leaves_is_no_error(installation):
    for i in range(3):
        installation.entry(f"toy-{i}")
    code = "import sys; sys.argv[1:] = ['list', '--json']; from dgmcore.cli import main; raise SystemExit(main())"
    env = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(os.path.abspath(__file__)))}
    with subprocess.Popen(
        [sys.executable, "-c", code], env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == ""


def test_ctrl_c_is_quiet(installation):
    installation.plugin("extra", """
import time, typer
from dgmcore.hookspecs import hookimpl
app = typer.Typer()
@app.command()
def wait():
    print("waiting", flush=True)
    time.sleep(60)
@hookimpl
def dgm_commands():
    return [{"name": "wait", "help": "Waits.", "import": "fake_extra:app"}]
""")  # fmt: skip
    path = os.pathsep.join([str(installation.site), os.path.dirname(os.path.dirname(os.path.abspath(__file__)))])
    with subprocess.Popen(
        [sys.executable, "-m", "dgmcore", "wait"],
        env={**os.environ, "PYTHONPATH": path}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout.readline() == "waiting\n"
        time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=30) == 130
        assert process.stderr.read() == "interrupted\n"


def test_set_options():
    assert parse_set(["a=1", "b.c=[1, 2]", "b.d=1e-3", "s=text", "n=", "t=true"]) == {
        "a": 1, "b": {"c": [1, 2], "d": 1e-3}, "s": "text", "n": None, "t": True,
    }  # fmt: skip
    for wrong in (["a"], ["=1"], ["a..b=1"], ["a=1", "a.b=2"], ["a.b=2", "a=1"], ["a=[1"], ["a=*x"]):
        with pytest.raises(OptionError):
            parse_set(wrong)


def test_numbers_for_people():
    assert [count(n) for n in (None, 0, 999, 1229, 205_848, 39_000_000, 2 * 10**9)] == [
        None, "0", "999", "1.23k", "206k", "39M", "2G",
    ]  # fmt: skip
    assert [size(n) for n in (None, 0, 999, 1500, 44_000_000, 3.2e9, 2e12)] == [
        None, "0 B", "999 B", "1.5 kB", "44.0 MB", "3.2 GB", "2000 GB",
    ]  # fmt: skip


def test_json_has_no_nan_and_nothing_shows_progress_where_nobody_looks(capsys):
    from dgmcore.console import emit_json

    emit_json({"a": float("nan"), "b": [float("inf"), 1.5]})
    assert json.loads(capsys.readouterr().out) == {"a": None, "b": [None, 1.5]}
    with progress("working", total=3, unit="steps") as advance:
        advance(loss=0.5)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("chosen", [None, "active"])
def test_threads_that_wait_sleep_unless_the_user_says_otherwise(installation, capsys, monkeypatch, chosen):
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if chosen:
        monkeypatch.setenv("OMP_WAIT_POLICY", chosen)
    invoke(capsys, "--version")
    assert os.environ["OMP_WAIT_POLICY"] == (chosen or "passive")
