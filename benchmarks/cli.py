"""What `dgm` adds to Python and typer: listing, info, help and completion against a typer program of one command.

A temporary installation has ten more plugins (one imports torch at its top) and two hundred more entries. The index is
compiled once, as after an install; then the commands are measured, interleaved, each a process of its own.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "15"))
PLUGINS, ENTRIES = 10, 200
LIMIT, SAMPLE_LIMIT = 1.5, 1.3

ONE_COMMAND = """
import typer
app = typer.Typer()
@app.command()
def main():
    print("hello")
app()
"""

DGM = """
import sys
from dgmcore.cli import main
sys.exit(main())
"""

PLUGIN = """
{first}
from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

@hookimpl
def dgm_architectures():
    return [{{"name": "toy-{i}-" + str(k), "family": "toys-{i}", "import": "bench_plugin_{i}:Toy"}} for k in range(5)]

@hookimpl
def dgm_registries():
    return [{folder!r}]

class Toy:
    def sample(self, noise): ...
    def score(self, x): ...
"""

ENTRY = """schema: 1
name: toy-{i}-{k}
architecture: toy-{i}-{a}
summary: A toy of plugin {i}, the {k}th
license: apache-2.0
config: {{hidden: [128, 128, 128], layers: 6, activation: silu}}
data: {{dataset: moons, event_shape: [2], range: [-1, 1]}}
weights: {{size: 823456, parameters: 205848, hub: {{repo: toys/toy-{i}-{k}, revision: main}}}}
sampling: {{steps: 20, temperature: 1.0}}
metrics:
- {{name: nll, value: 0.31, unit: nats, n: 20000, against: "moons:test", command: dgm eval toy-{i}-{k} --metric nll}}
papers: [{{title: A paper, url: "https://example.org/{k}"}}]
"""


def install(folder: Path) -> dict[str, str]:
    """Makes the plugins and entries; returns the environment that sees them."""

    site = folder / "site"
    for i in range(PLUGINS):
        info = site / f"bench_plugin_{i}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: bench-plugin-{i}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[dgm]\nbench-{i} = bench_plugin_{i}\n")
        shelf = folder / f"registry-{i}"
        first = "import torch" if i == 0 else ""
        (site / f"bench_plugin_{i}.py").write_text(PLUGIN.format(first=first, i=i, folder=str(shelf)))
        for k in range(ENTRIES // PLUGINS):
            entry = shelf / f"toy-{i}-{k}" / "model.yaml"
            entry.parent.mkdir(parents=True)
            entry.write_text(ENTRY.format(i=i, k=k, a=k % 5))
    (folder / "one.py").write_text(ONE_COMMAND)
    (folder / "dgm.py").write_text(DGM)
    path = os.pathsep.join([str(site), str(Path(__file__).parent.parent)])
    home = {name: str(folder / name.lower()) for name in ("XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME")}
    return {**os.environ, **home, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": ""}


def run() -> list[dict]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        env = install(folder)
        env.pop("DGM_PLUGINS", None)
        dgm = [sys.executable, str(folder / "dgm.py")]
        words = {"_DGM_COMPLETE": "complete_bash", "COMP_WORDS": "dgm info toy-3", "COMP_CWORD": "2"}
        commands = {
            "one": ([sys.executable, str(folder / "one.py")], {}),
            "dgm list": ([*dgm, "list"], {}),
            "dgm list --json": ([*dgm, "list", "--json"], {}),
            "dgm info NAME": ([*dgm, "info", "toy-3-7"], {}),
            "dgm plugins": ([*dgm, "plugins"], {}),
            "dgm --help": ([*dgm, "--help"], {}),
            "completion of a name": (dgm, words),
        }
        found = subprocess.run(commands["dgm list"][0], env=env, cwd=folder, capture_output=True, text=True, check=True)
        assert found.stdout.count("\ntoy-") == ENTRIES, found.stderr
        times = medians(commands, env, folder, ROUNDS)
        base = times.pop("one")
        rows = [
            {
                "name": label,
                "ours": ours * 1e3,
                "theirs": base * 1e3,
                "unit": "ms",
                "ratio": ours / base,
                "limit": LIMIT,
            }
            for label, ours in times.items()
        ]
        for row in rows:
            row["note"] = "typer, one command"
        return rows + sampling(dgm, env, folder)


def sampling(dgm: list[str], env: dict[str, str], folder: Path) -> list[dict]:
    """Measures `dgm sample realnvp-moons --out s.npz` against importing torch."""

    name = "dgm sample realnvp-moons --out s.npz"
    commands = {
        "theirs": ([sys.executable, "-c", "import torch"], {}),
        "ours": ([*dgm, "sample", "realnvp-moons", "--out", "s.npz"], {}),
    }
    tried = subprocess.run(commands["ours"][0], env=env, cwd=folder, capture_output=True, text=True)
    if tried.returncode:
        return [{"name": name, "error": tried.stderr.strip().splitlines()[0] if tried.stderr else "failed"}]
    times = medians(commands, env, folder, max(ROUNDS // 2, 3))
    ratio = times["ours"] / times["theirs"]
    values = {key: value * 1e3 for key, value in times.items()}
    return [
        {
            "name": name,
            **values,
            "unit": "ms",
            "ratio": ratio,
            "limit": SAMPLE_LIMIT,
            "note": "python -c 'import torch'",
        }
    ]


def medians(
    commands: dict[str, tuple[list[str], dict[str, str]]], env: dict[str, str], folder: Path, rounds: int
) -> dict[str, float]:
    """Returns the median seconds of each command, run in turns."""

    times: dict[str, list[float]] = {label: [] for label in commands}
    for i in range(rounds + 1):
        for label, (command, more) in commands.items():
            start = time.perf_counter()
            subprocess.run(command, env={**env, **more}, cwd=folder, stdout=subprocess.DEVNULL, check=True)
            if i:  # the first turn warms the caches
                times[label].append(time.perf_counter() - start)
    return {label: statistics.median(values) for label, values in times.items()}


if __name__ == "__main__":
    for row in run():
        said = (
            row.get("error")
            or f"{row['ours']:7.0f} ms / {row['theirs']:5.0f} ms = {row['ratio']:.2f}, limit {row['limit']}"
        )
        print(f"{row['name']:38} {said}")
