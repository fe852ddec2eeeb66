"""Docs that can't lie: generated pages are current, and the commands of the others run as they are printed.

Pages are followed to the letter by a shell, each in an empty folder. A block of code after a paragraph that ends in
`FILE`: is that file; in a console block lines that begin with `$ ` are commands, and other lines what they print.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent
NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?(?:e-?\d+)?")


class Block(NamedTuple):
    """A block of code, and the name of the file that it is to become, if any."""

    language: str
    text: str
    file: str | None


def blocks(page: str, until: str | None = None) -> Iterator[Block]:
    """The blocks of code of a page, up to the line `until`."""
    said, language, code = "", None, ""
    for line in (ROOT / page).read_text(encoding="utf-8").splitlines():
        if language is None and line == until:
            return
        if language is None and line.startswith("```"):
            language, code = line[3:], ""
        elif line.startswith("```"):
            named = re.search(r"`([\w.-]+)`:$", said)
            yield Block(language, code, named[1] if named else None)
            said, language = "", None
        elif language is not None:
            code += f"{line}\n"
        elif line.strip():
            said = line.rstrip()


class Shell:
    """An empty folder in which a page is followed, with `dgm` and `python` being this environment's."""

    def __init__(self, folder: Path):
        self.folder, tools = folder / "empty", folder / "bin"
        self.folder.mkdir()
        tools.mkdir()
        for name, command in {"python": "", "dgm": " -m dgmcore"}.items():
            (tools / name).write_text(f'#!/bin/sh\nexec "{sys.executable}"{command} "$@"\n')
            (tools / name).chmod(0o755)
        own = {"XDG_DATA_HOME": str(folder / "data"), "PATH": f"{tools}{os.pathsep}{os.environ['PATH']}"}
        kept = {k: v for k, v in os.environ.items() if k not in ("DGM_REGISTRY", "DGM_PLUGINS")}
        self.environment = {**kept, **own, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "COLUMNS": "100"}

    def run(self, script: str) -> str:
        """Runs a script that stops at the first failure, and returns what it printed."""
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=900,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"
        return done.stdout


@pytest.fixture
def shell(tmp_path):
    return Shell(tmp_path)


def commands(block: Block) -> list[tuple[str, str]]:
    """The commands of a console block, each with what the page says it prints."""
    found: list[tuple[str, str]] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            found.append((line[2:], ""))
        elif line.strip():
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def follow(shell: Shell, steps: list[Block], skip: str = "(?!)") -> str:
    """Does what blocks of a page say, one after the other, in one shell; compares what they print."""
    script, expected = "", []
    for block in steps:
        if block.file is not None:
            (shell.folder / block.file).write_text(block.text)
        elif block.language == "python":
            script += f"python - <<'END_OF_PYTHON'\n{block.text}END_OF_PYTHON\n"
        elif block.language == "console":
            for command, printed in commands(block):
                if not re.search(skip, command):
                    script += f"{command}\n"
                    expected += [printed] if printed else []
    out = shell.run(script)
    for printed in expected:
        assert same(printed, out), f"the page says\n{printed}\nbut what is printed is\n{out}"
    return out


def same(printed: str, out: str) -> bool:
    """Whether lines are in the output, but for spaces, and for times and roundings: numbers agree to 1 in 1000."""
    words, have = NUMBER.sub("0", printed).split(), NUMBER.sub("0", out).split()
    for at in (i for i in range(len(have)) if have[i : i + len(words)] == words):
        text = " ".join(out.split()[at : at + len(words)])
        numbers = [[float(n.replace(",", "")) for n in NUMBER.findall(t)] for t in (printed, text)]
        if numbers[0] == pytest.approx(numbers[1], rel=1e-3):
            return True
    return False


# --- generated pages ---------------------------------------------------------------------------------


def test_generated_pages_are_current(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))  # no entries of whoever runs the tests
    for name in ("DGM_REGISTRY", "DGM_PLUGINS"):
        monkeypatch.delenv(name, raising=False)
    spec = importlib.util.spec_from_file_location("build", ROOT / "docs" / "build.py")
    build = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(build)
    for path, text in build.pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path.name} is not what the commands say: make docs"


def test_every_page_that_is_linked_is_there():
    for page in [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_what_is_named_of_our_packages_is_there():
    """In pages, docstrings, errors and their hints: `dgmcore.sampling.stream`, `dgm_ebms.ebm.EBM`."""
    places = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "notebooks").glob("*.ipynb")]
    places += [*(ROOT / "dgmcore").rglob("*.py"), *(ROOT / "plugins").glob("*/src/**/*.py")]
    named = {}
    for place in places:
        for name in re.findall(r"\bdgm(?:core|_[a-z]+)(?:\.[A-Za-z_]\w*)+", place.read_text(encoding="utf-8")):
            named.setdefault(name, place.name)
    assert len(named) > 200
    missing = [f"{name} in {place}" for name, place in named.items() if not _is_there(name.split("."))]
    assert not missing


def _is_there(parts: list[str]) -> bool:
    """Whether a dotted name is a module, or something in one."""
    for cut in range(len(parts), 0, -1):
        try:
            found = importlib.import_module(".".join(parts[:cut]))
        except ImportError:
            continue
        for name in parts[cut:]:
            if not hasattr(found, name):
                return name in getattr(found, "__annotations__", ())
            found = getattr(found, name)
        return True
    return False


# --- pages that are followed -------------------------------------------------------------------------


def test_the_tutorial_in_an_empty_folder(shell):
    steps = [b for b in blocks("docs/tutorial.md") if "make install" not in b.text]
    out = follow(shell, steps)
    made = {p.name for p in shell.folder.iterdir()}
    assert {"moons.png", "moons.npy", "garments.png", "scores.csv", "chain.gif", "my-moons-seed0.png"} <= made
    assert '"kind": "exact"' in out


def test_a_model_of_ones_own_in_an_empty_folder(shell):
    steps = list(blocks("docs/authors.md", until="## What a model is"))
    written = [line for b in steps if b.file for line in b.text.splitlines() if line.strip()]
    assert len(written) < 60, "the author's own lines, code and recipe together"
    out = follow(shell, steps)
    assert "my-model my-family" in " ".join(out.split()) and "kind exact" in " ".join(out.split())
    assert (shell.folder / "my-model-seed0.png").stat().st_size > 1000


#: What takes minutes (faces), or is tried elsewhere (tests/test_new_plugin.py).
LONG = r"^make |photos|celeba|1000000|new-plugin|my-family|dgm serve"


def test_the_readme(shell):
    out = follow(shell, list(blocks("README.md")), skip=LONG)
    assert "glow-fashion-seed0.png" in out and " exact\n" in out, "nats, and what they are"


def test_what_is_compared():
    assert same("mean  -0.3273\n n 100,000", "x\n  mean -0.32735\n  n  100000\n y")
    assert not same("mean -0.4", "mean -0.3") and not same("kind exact", "kind estimate")
    found = list(blocks("docs/authors.md"))
    assert [b.file for b in found[:2]] == ["my_family.py", "my-model.yaml"] and found[2].language == "console"
