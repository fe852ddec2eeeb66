"""`dgm` with streams that are closed, full or narrow, and as people spell it."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys

import msgspec
import numpy as np
import pytest

import dgmcore
from dgmcore import console
from dgmcore.cli import failures, main
from dgmcore.plugins import provided


def shell(line: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    """Runs a line of the shell in which `dgm` is this one."""
    line = line.replace("dgm ", f"{sys.executable} -m dgmcore ", 1)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "COLUMNS": "80", **environment}
    return subprocess.run(["bash", "-c", line], env=env, capture_output=True, timeout=120)


# --- streams ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("closed", [">&-", "2>&-", "<&-", ">&- 2>&- <&-"])
def test_what_is_closed_is_not_missed(toy_entries, closed):
    done = shell(f"dgm sample ridge -n 3 --out x.csv {closed}")
    assert done.returncode == 0 and done.stderr == b""
    assert (toy_entries / "x.csv").read_text().startswith("x0,x1\n"), "no descriptor was taken for another"
    assert done.stdout == (b"" if ">&-" in closed.replace("2>&-", "") else b"x.csv\n")
    assert shell(f"dgm list ridge {closed}").returncode == 0


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_what_is_full_is_one_error_after_the_work(toy_entries):
    for line in ("dgm list > /dev/full", "dgm list --json > /dev/full", "dgm sample ridge --out x.npz > /dev/full"):
        done = shell(line)
        assert done.returncode == 1, line
        assert [text.split(b":")[0] for text in done.stderr.splitlines()] == [b"error", b"hint"], done.stderr
    assert (toy_entries / "x.npz").exists()
    assert shell("dgm lst 2> /dev/full").returncode == 2
    assert shell("dgm score ridge x.npz 2> /dev/full").returncode == 0


def test_a_reader_that_leaves_ends_text_on_stdout(toy_entries):
    done = shell("dgm sample ridge -n 100000 --out - | head -2")
    assert done.stdout.count(b"\n") == 2 and done.stderr == b""


def test_characters_that_a_terminal_lacks_end_nothing(toy_entries):
    done = shell("dgm sample pixels -n 2 --preview --json --out x.npz", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and json.loads(done.stdout)["n"] == 2
    assert b"#" in done.stderr and b"\\u" not in done.stderr
    done = shell("dgm eval ridge --metric nll --n 50", PYTHONIOENCODING="ascii")
    assert done.returncode == 0 and b" +- " in done.stdout, done.stderr
    done = shell("dgm sample pixels --out $'p\\xff.npz'", PYTHONIOENCODING="utf-8")
    assert done.returncode == 0 and done.stdout == b"p\xff.npz\n" and os.path.exists(os.fsencode("p") + b"\xff.npz")
    done = shell("dgm sample pixels --json --out $'p\\xff.npz'", PYTHONIOENCODING="ascii")
    assert json.loads(done.stdout)["out"] == "p\udcff.npz"


def test_text_on_stdout(dgm):
    code, out, _ = dgm("sample", "ridge", "-n", 4, "--out", "x.npy")
    assert code == 0
    code, out, err = dgm("sample", "ridge", "-n", 4, "--out", "-")
    assert (code, err) == (0, "") and np.loadtxt(io.StringIO(out), delimiter=",", skiprows=1).shape == (4, 2)
    assert dgm("sample", "ridge", "-n", 4, "--out", "/dev/stdout")[1] == out
    read, write = os.pipe()  # as of the shell's >(...)
    assert dgm("sample", "ridge", "-n", 4, "--out", f"/dev/fd/{write}")[0] == 0
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        assert pipe.read() == out and sorted(os.listdir()) == ["x.npy", "x.npy.json"]
    code, out, err = dgm("score", "ridge", "x.npy", "--out", "-")
    assert code == 0 and out.startswith("index,value\n0,") and "mean" in err and len(out.splitlines()) == 5
    for arguments in (["sample", "ridge"], ["score", "ridge", "x.npy"]):
        code, out, err = dgm(*arguments, "--json", "--out", "-")
        assert (code, out) == (2, "") and "both go to stdout" in err


def test_one_place_decides_on_colours(monkeypatch, capsys):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    for environment, expected in (
        ({"TERM": "xterm"}, True),
        ({"TERM": "xterm", "NO_COLOR": "1"}, False),
        ({"TERM": "xterm", "NO_COLOR": ""}, True),
        ({"TERM": "dumb"}, False),
        ({}, False),
    ):
        assert console.coloured(Tty(), environment) == expected
        for name in ("TERM", "NO_COLOR"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        shown = Tty()
        monkeypatch.setattr(sys, "stdout", shown)
        console.heading("title", "text")
        console.table(["a", "b"], [("x", "y")], styles=["red"])
        from dgmcore.cli.commands.doctor import _print

        _print("fail", "this", "is wrong", "mend it")
        assert ("\x1b" in shown.getvalue()) == expected, environment
    assert not console.coloured(io.StringIO(), {"TERM": "xterm"})


@pytest.mark.parametrize("columns", [20, 40, 60, 80, 120])
def test_tables_never_cut_what_is_in_them(monkeypatch, columns):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Tty())
    names = ["a-name-of-thirty-characters-ok", "short"]
    rows = [(name, "family", "12.3 MB", "a summary of some words that may be wrapped") for name in names]
    console.table(["name", "family", "size", "summary"], rows, wrap="summary", drop=["size", "family"])
    said = sys.stdout.getvalue()
    assert "…" not in said and all(len(line.rstrip()) <= max(columns, 57) for line in said.splitlines())
    assert names[0] in said and ("12.3 MB" in said) == (columns >= 80)


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (60, ["name", "data", "size", "weights"]),
        (80, ["name", "family", "data", "params", "size", "weights"]),
        (100, ["name", "family", "data", "shape", "params", "size", "weights"]),
    ],
)
def test_the_list_drops_columns_and_cuts_no_name(installation, monkeypatch, columns, shown):
    class Tty(io.StringIO):
        def isatty(self):
            return True

    name = "a-model-of-thirty-characters-x"
    installation.plugin("toys")
    installation.entry(name, weights={"parameters": 1234567, "size": 4_900_000})
    monkeypatch.setenv("COLUMNS", str(columns))
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys, "stdout", Tty())
    assert main(["list", name]) == 0
    header, *lines = sys.stdout.getvalue().splitlines()
    assert header.split() == shown and lines[-1].startswith(f"{name} ")
    assert all(len(line) <= columns for line in lines)


# --- as people spell it -----------------------------------------------------------------------------


def test_other_spellings(dgm):
    assert dgm("version") == dgm("--version") and dgm("version")[0] == 0
    assert dgm("help") == dgm("--help") == dgm("-h")
    assert dgm("help", "sample") == dgm("sample", "--help") == dgm("sample", "-h")
    for option in ("-o", "--output", "--out"):
        assert dgm("sample", "ridge", option, "x.npz")[:2] == (0, "x.npz\n")
    assert dgm("sample", "ridge", "--out=x.npz", "--device", "auto")[0] == 0


@pytest.mark.parametrize(
    ("line", "hint"),
    [
        ("sample walk --steps 3", "it is an option of the model: --set steps=3"),
        ("sample walk --step-size=0.5", "it is an option of the model: --set step_size=0.5"),
        ("sample walk --temperature 0.5", "set options of the model with --set"),
        ("sample walk --sed 0", "did you mean --seed or --set?"),
        ("sample walk --quux", "see `dgm sample --help`"),
        ("score ridge x.npy --foo", "see `dgm score --help`"),
        ("quux", "see `dgm --help`"),
        ("smple walk", "did you mean sample?"),
        ("generate walk", "did you mean sample?"),
        ("fit conv-vae photos", "did you mean train?"),
        ("download walk", "did you mean pull?"),
        ("sample walk --random-seed 3", "did you mean --seed?"),
        ("sample walk --set steps 3", "key and value are one word: --set steps=3"),
        ("info https://huggingface.co/someone/model", "say hf://someone/model"),
        ("info someone/model", "say hf://someone/model"),
        ("sample google/walks", "say hf://google/walks"),  # no entry of another source, however near its name is
        ("sample walk --num-samples 3", "did you mean --n?"),
        ("sample walk --n_samples=3", "did you mean --n?"),
        ("info toy_rigde", "did you mean toy-ridge"),
        ("sample toy-walk", "dgm train toy-walk DATA"),
        ("list toys", "dgm list --family toys"),
        ("list critic", "dgm list --can critic"),
        ("list stacked-mnist", "dgm list --dataset stacked-mnist"),
    ],
)
def test_hints_for_what_is_spelled_otherwise(dgm, line, hint):
    _, out, err = dgm(*line.split())
    assert out == "" and hint in err and "did you mean --help" not in err


@pytest.mark.parametrize("name", ["runs/mine", "./runs/mine", "runs/mine/registry/"])
def test_a_folder_with_a_model_in_it_names_the_model(dgm, toy_entries, name):
    made = toy_entries / "runs" / "mine" / "registry"
    made.mkdir(parents=True)
    dgmcore.load("walk").save(made / "mine", name="mine", license="mit", data={"dataset": "moons", "event_shape": [2]})
    _, out, err = dgm("sample", name)
    (inside,) = re.findall(r"hint: in this folder there is (\S+)", err)
    assert out == "" and dgm("sample", inside, "--out", "x.npz")[0] == 0


@pytest.mark.parametrize("columns", ["60", "80"])
def test_the_help_says_of_no_flag_that_it_wants_a_value_and_cuts_no_option(dgm, monkeypatch, columns):
    monkeypatch.setenv("COLUMNS", columns)
    for args in ([], ["sample"], ["train"], ["list"], ["interpolate"], ["stats"], ["serve"], ["page"]):
        said = dgm(*args, "--help")[1]
        assert "<bool>" not in said and "…" not in said


def test_a_command_whose_plugin_is_missing_names_the_package(dgm, monkeypatch):
    assert dgm("train")[0] == 2  # it is there, and wants a recipe
    for command, package in (
        ("train", "dgm-train"),
        ("eval", "dgm-eval"),
        ("push", "dgm-publish"),
        ("interpolate", "dgm-latent"),
    ):
        known = {k: v for k, v in provided.commands().items() if k != command}
        without = msgspec.structs.replace(provided.provided(), commands=known)
        monkeypatch.setattr("dgmcore.cli.app.provided", lambda without=without: without)
        monkeypatch.setattr("dgmcore.cli.app.plugins", list)
        monkeypatch.setattr(provided, "plugins", list)
        code, out, err = dgm(command, "x")
        assert (code, out) == (1, "")
        assert err.splitlines() == [
            f"error: {command} needs the plugin {package}, which is not installed",
            f"hint: pip install {package}",
        ]
        assert command not in [line.split()[1] for line in dgm("--help")[1].splitlines() if line.startswith("│ ")]


def test_an_option_whose_plugin_is_missing_names_it_as_it_was_typed(dgm, monkeypatch):
    without = msgspec.structs.replace(provided.provided(), calls={})
    monkeypatch.setattr(provided, "provided", lambda: without)
    monkeypatch.setattr(provided, "plugins", list)
    for args, what, package in (
        (("--given", "x0=0.5"), "--given, or more than one --tilt,", "dgm-given"),
        (("--tilt", "judge", "--tilt", "judge:2"), "--given, or more than one --tilt,", "dgm-given"),
        (("--preview",), "--preview", "dgm-export"),
        (("--trajectory", "x.gif", "--tilt", "judge"), "an animation", "dgm-latent"),
        (("--out", "x.svg"), "a figure as .svg or .pdf", "dgm-export"),
    ):
        code, _, err = dgm("sample", "ridge", *args)
        assert code == 1 and err.splitlines() == [
            f"error: {what} needs the plugin {package}, which is not installed",
            f"hint: pip install {package}",
        ]


def test_errors_of_torch_and_of_files_are_explained():
    import torch

    assert failures.explain(torch.OutOfMemoryError("x")).hint.startswith("use a smaller --batch-size")
    assert failures.explain(FileNotFoundError(2, "No such file", "x")).what == "x: No such file"
    assert failures.explain(KeyError("x")).code == 1


def complete(line: str) -> list[str]:
    """Asks as bash does."""
    words = line.split(" ")
    completion = {"_DGM_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": str(len(words) - 1)}
    code = "import sys, atexit\nfrom dgmcore.cli import main\n"
    code += "atexit.register(lambda: print('torch' in sys.modules, file=sys.stderr))\nmain([])"
    env = {**os.environ, **completion}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, timeout=120)
    assert done.stderr.endswith("False\n"), done.stderr
    return done.stdout.split()


def test_completion_of_values(toy_entries):
    (toy_entries / "moons-data").mkdir()
    assert complete("dgm sample ridge --tilt ju") == ["judge"]
    assert complete("dgm sample walk --set st") == ["step_size=", "steps="]
    assert complete("dgm eval ridge --metric energy") == ["energy-distance"]
    assert complete("dgm info toy-w") == ["toy-walk"]
    assert complete("dgm score ridge moons") == ["moons-data/", "moons:test", "moons:train"]
    assert complete("dgm eval ridge --against mn") == ["mnist:test", "mnist:train"]
    assert complete("dgm sample ridge --dtype b") == ["bfloat16"]
    assert complete("dgm sample ridge --device au") == ["auto"]
    assert complete("dgm check-plugin toy-w") == ["toy-walk"] and "train" in complete("dgm check-plugin tr")
    assert complete("dgm train toy-walk moons --set phases.0.optimizer.l") == ["phases.0.optimizer.lr="]
    assert complete("dgm finetune walk moons --set con") == ["config."]
    assert complete("dgm eval ridge --compare wal") == ["walk"]
    assert complete("dgm export ridge --part samp") == ["sampler"]
    assert complete("dgm plugins --trust x") == []
