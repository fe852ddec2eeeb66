"""The day of a release, on a Hub on loopback: publish, build small wheels, and use them where nothing else is.

    python benchmarks/wheels.py --only release [--keep FOLDER]

`dgm push --all --record` publishes a registry of a few models (the Hub refuses it three times on the way),
`dgm-weights` is built from what it wrote, and an empty environment with the wheels alone pulls a composed model and
samples it: the bits must be those of the clone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

ENTRIES = ("realnvp-moons", "nvaegan-celeba", "vaebm-celeba")
PACKAGES = ("dgmcore", "dgm-flows", "dgm-vaes", "dgm-ebms", "dgm-hybrids", "dgm-weights")
SAMPLES = {"vaebm-celeba": 2, "realnvp-moons": 64}
MOST = 1e6  # bytes of the wheels of the core and of the entries
PUSH = ("push", "--all", "--namespace", "user", "--record")


def release(place: Path) -> int:
    """Runs the experiment in a folder; returns the number of things that are not as they should be."""

    from hub_server import HubServer

    clone, wheels = place / "clone", place / "wheels"
    for folder in (*(f"registry/{name}" for name in ENTRIES), "plugins/dgm-weights"):
        shutil.copytree(ROOT / folder, clone / folder, dirs_exist_ok=True)
    with HubServer() as hub:
        here = {**os.environ, **hub.environment(place / "maintainer"), "DGM_REGISTRY": str(clone / "registry")}
        here |= {"PYTHONPATH": os.pathsep.join(map(str, (ROOT, *ROOT.glob("plugins/*/src"))))}
        for name, n in SAMPLES.items():
            dgm(sys.executable, place, here, "sample", name, "-n", str(n), "--out", f"{name}-clone.npy")
        wrong = published(hub, place, here)
        pip = ("-m", "pip", "--quiet", "--disable-pip-version-check")
        plugins = [ROOT / "plugins" / name for name in PACKAGES[1:-1]]
        build = [sys.executable, *pip, "wheel", "--no-deps", "-w", wheels]
        subprocess.run([*build, ROOT, *plugins, clone / "plugins" / "dgm-weights"], check=True)
        for name in ("dgmcore", "dgm_weights"):
            wheel = next(wheels.glob(f"{name}-*.whl"))
            wrong += told(wheel.stat().st_size < MOST, f"{wheel.name} has {wheel.stat().st_size / 1e3:.0f} kB")
        venv.create(place / "env", with_pip=True, clear=True)
        python = place / "env" / ("Scripts" if os.name == "nt" else "bin") / "python"
        install = [python, *pip, "install", "-c", ROOT / "constraints.txt", "--find-links", wheels, *PACKAGES]
        subprocess.run(install, check=True)
        own = {"XDG_CACHE_HOME": str(place / "cache"), "XDG_DATA_HOME": str(place / "data")}
        there = {**os.environ, **hub.environment(place / "stranger"), **own}
        there = {k: v for k, v in there.items() if k not in ("PYTHONPATH", "DGM_REGISTRY", "DGM_PLUGINS", "HF_TOKEN")}
        for name, n in SAMPLES.items():
            done = dgm(python, place, there, "pull", name)
            wrong += told(done.returncode == 0, f"dgm pull {name}", done.stderr)
            done = dgm(python, place, there, "sample", name, "-n", str(n), "--out", f"{name}-wheels.npy")
            wrong += told(done.returncode == 0, f"dgm sample {name} from wheels alone", done.stderr)
            files = [place / f"{name}-{where}.npy" for where in ("clone", "wheels")]
            same = all(f.is_file() for f in files) and files[0].read_bytes() == files[1].read_bytes()
            wrong += told(same, f"the bits of {name} are those of the clone")
    return wrong


def published(hub, place: Path, here: dict[str, str]) -> int:
    """Publishes a registry, is refused three times on the way, and goes on each time."""

    from hub_server import Fault

    wrong = 0
    for name in ("nvaegan-celeba", "realnvp-moons", "vaebm-celeba"):
        hub.faults[:] = [Fault("status", path=f"/user/{name}/commit", method="POST", code=403)]
        done = dgm(sys.executable, place, here, *PUSH)
        wrong += told(done.returncode == 1 and name in done.stderr, f"dgm push --all is interrupted at {name}")
    hub.faults.clear()
    done = dgm(sys.executable, place, here, *PUSH)
    wrong += told(done.returncode == 0, f"the fourth run completes: {done.stderr.splitlines()[-1]}", done.stderr)
    sent = len([r for r in hub.requests if r[0] == "PUT"])
    again = dgm(sys.executable, place, here, *PUSH)
    unchanged = "0 of them new or changed; 0 recorded" in again.stderr
    quiet = sent == len([r for r in hub.requests if r[0] == "PUT"])
    return wrong + told(again.returncode == 0 and unchanged and quiet, "the fifth sends nothing", again.stderr)


def dgm(python: Path | str, place: Path, environment: dict[str, str], *args: str) -> subprocess.CompletedProcess[str]:
    command: Sequence[str | Path] = [python, "-m", "dgmcore", *args]
    return subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=900)


def told(good: bool, what: str, why: str = "") -> int:
    """Prints whether something is as it should be; returns 1 if it is not."""

    print(f"  {'ok    ' if good else 'WRONG '} {what}", flush=True)
    for line in [] if good else why.splitlines()[-4:]:
        print(f"           {line}")
    return int(not good)
