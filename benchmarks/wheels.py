"""What a user gets from wheels: the core alone, then with one family and the weights, then with everything.

    python benchmarks/wheels.py [--keep FOLDER] [--only stages|release]

Builds the wheels of the core and of every plugin and installs them into an empty environment that grows from stage to
stage. After each it runs commands outside of the repository and checks their exit codes, and that what is not installed
is two lines that name its package. Then comes the day of a release (benchmarks/release.py). Installs torch, so it takes
minutes and a few gigabytes: no part of `make test`.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import venv
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent
PLUGINS = sorted(p.parent for p in ROOT.glob("plugins/*/pyproject.toml"))


class Try(NamedTuple):
    """A command, its exit code, and what it must say."""

    args: str
    code: int = 0
    says: str = ""


READING = ("--version", "list", "plugins", "doctor --help", "convert --help", "pull --help")
CORE = [
    *map(Try, READING),
    Try("train recipe.yaml", 1, "dgm-train"),
    Try("eval realnvp-moons", 1, "dgm-eval"),
    Try("push realnvp-moons --repo me/mine", 1, "dgm-publish"),
    Try("interpolate realnvp-moons", 1, "dgm-latent"),
    *(Try(f"{name} x", 1, "dgm-replay") for name in ("replay", "verify", "rm", "cache", "schema")),
    Try("serve", 1, "dgm-serve"),
    Try("export realnvp-moons", 1, "dgm-export"),
    Try("check-plugin x", 1, "dgm-authors"),
    Try("pull vaebm-celeba", 1, "dgm-weights"),
    Try("sample realnvp-moons --out a.npy", 1, "dgm-weights"),
]
FAMILY = [
    Try("info realnvp-moons"),
    Try("sample realnvp-moons -n 64 --out a.npy"),
    Try("score realnvp-moons a.npy"),
    Try("train recipe.yaml", 1, "dgm-train"),
    Try("sample vae-fashion --out b.npy", 1, "dgm-vaes"),
    Try("sample realnvp-moons --given x0=0.5 --out c.npy", 1, "dgm-given"),
]
ALL = [
    Try("sample vae-fashion -n 4 --out b.npy"),
    Try("train recipe.yaml --out registry"),
    Try("eval realnvp-moons --metric nll --n 1000"),
    Try("sample realnvp-moons --given x0=0.5 -n 16 --out c.npy"),
    Try("replay b.npy"),
    Try("replay a.npy", 1, "dgm-replay"),  # made without it
    Try("verify realnvp-moons"),
    Try("push --help"),
]
STAGES = [("the core alone", ["dgmcore"], CORE), ("with one family", ["dgm-flows", "dgm-weights"], FAMILY)]
MOST = 1e6  # bytes of the core's wheel

RECIPE = """\
schema: 1
name: tiny
summary: A flow that has hardly been trained
architecture: realnvp
config: {layers: 2, hidden: 8}
data: {dataset: moons}
seed: 0
phases:
  - {phase: likelihood, batch_size: 64, steps: 5, optimizer: {name: adam, lr: 0.001}}
license: Apache-2.0
"""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep", help="work in this folder, and leave it there")
    parser.add_argument("--only", choices=("stages", "release"), help="do one of the two")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(asked.keep or temporary).absolute()
        wrong = 0 if asked.only == "release" else stages(place / "stages")
        if asked.only != "stages":
            from release import release

            wrong += release(place / "release")
    print(f"{wrong} things are not as they should be" if wrong else "all is as it should be")
    return wrong


def stages(place: Path) -> int:
    """Runs all stages in a folder; returns the number of things that are not as they should be."""

    wheels, work = place / "wheels", place / "work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    (work / "recipe.yaml").write_text(RECIPE)
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, ROOT, *PLUGINS], check=True)
    for wheel in sorted(wheels.glob("*.whl")):
        print(f"  {wheel.stat().st_size / 1e6:8.2f} MB  {wheel.name}")

    venv.create(place / "env", with_pip=True, clear=True)
    python = place / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
    install = [python, *pip[1:], "install", "-c", ROOT / "constraints.txt", "--find-links", wheels]
    core = next(wheels.glob("dgmcore-*.whl"))
    wrong = int(core.stat().st_size > MOST)
    print(f"  the core's wheel is {'too large' if wrong else 'below a megabyte'}")
    for name, packages, tries in [*STAGES, ("with everything", [p.name for p in PLUGINS], ALL)]:
        print(f"{name}: pip install {' '.join(packages)}", flush=True)
        subprocess.run([*install, *packages], check=True)
        wrong += sum(not attempt(python, work, t) for t in tries)
    return wrong


def attempt(python: Path, work: Path, wanted: Try) -> bool:
    """Runs one command as a user would, outside of the repository; prints and returns whether it did what it should."""

    own = {"XDG_CACHE_HOME": str(work / "cache"), "XDG_DATA_HOME": str(work / "data"), "HF_HUB_OFFLINE": "1"}
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "DGM_REGISTRY", "DGM_PLUGINS")} | own
    command = [python, "-m", "dgmcore", *wanted.args.split()]
    done = subprocess.run(command, cwd=work, env=environment, capture_output=True, text=True, timeout=900)
    said = done.stderr.strip().splitlines()
    two_lines = not wanted.says or (len(said) == 2 and said[0].startswith("error: ") and said[1].startswith("hint: "))
    good = done.returncode == wanted.code and wanted.says in done.stderr and two_lines
    print(f"  {'ok    ' if good else 'WRONG '} dgm {wanted.args}")
    for line in said[-3:] if wanted.says or not good else []:
        print(f"           {line}")
    return good


if __name__ == "__main__":
    sys.exit(min(main(), 1))
