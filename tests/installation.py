"""A made-up installation: fake distributions, user folders and registries in a temporary folder."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from textwrap import dedent
from typing import Any

import yaml

PLUGIN = """
from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

@hookimpl
def dgm_architectures():
    return [{{"name": "{name}", "family": "toys", "import": "{module}:Toy", "summary": "A toy"}}]

class Toy:
    def sample(self, noise): ...
    def score(self, x): ...
"""

# The names of fake plugins; no others are loaded, since compiling the installed ones takes its time.
NAMES = ["a", "b", "c", "g", "one", "two", "toys", "other", "new", "sick", "good", "loud", "lazy", "extra", "heavy"]
NAMES += ["mine", "bad", "shifts", "raises", "missing", "syntax", "exits", "dies", "crashes", "asks", "newer", "older"]
NAMES += ["misspelled", "undecorated", "argument", "raising", "nolist", "nokey", "wrongkey", "noimport", "noclass"]
NAMES += ["nofolder"]

ENTRY = {
    "schema": 1,
    "architecture": "toy",
    "license": "mit",
    "data": {"dataset": "moons", "event_shape": [2]},
}


class Installation:
    """Folders for fake distributions and for a user, and ways to run `dgm` with them.

    Attributes:
        site: Is on `sys.path`; fake distributions are installed here.
        registry: Is `$DGM_REGISTRY`.
        data: The user's data folder, with `plugins/` and `registry/`.
    """

    def __init__(self, folder: Path, warm: Path | None = None):
        self.folder = folder
        self.site, self.registry, self.work = folder / "site", folder / "registry", folder / "work"
        for place in (self.site, self.registry, self.work):
            place.mkdir()
        self.data = folder / "share" / "dgmcore"
        self.cache = folder / "cache" / "dgmcore"
        if warm is not None:  # the records of the core, whose classes import torch
            shutil.copytree(warm, self.cache / "index")
        self.environment = {
            "XDG_DATA_HOME": str(folder / "share"),
            "XDG_CACHE_HOME": str(folder / "cache"),
            "HF_HOME": str(folder / "hf"),
            "DGM_REGISTRY": str(self.registry),
            "DGM_PLUGINS": ",".join(NAMES),
            "COLUMNS": "100",
        }

    def module(self, name: str, source: str) -> Path:
        path = self.site / f"{name}.py"
        path.write_text(dedent(source))
        return path

    def distribution(self, name: str, points: dict[str, str], version: str = "1.0") -> Path:
        info = self.site / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        lines = [f"{key} = {value}\n" for key, value in points.items()]
        (info / "entry_points.txt").write_text("[dgm]\n" + "".join(lines))
        return info

    def plugin(self, name: str, source: str | None = None, architecture: str = "toy") -> Path:
        """Installs a plugin of one module `fake_NAME`."""
        assert name in NAMES, name
        module = f"fake_{name}"
        self.distribution(f"dgm-{name}", {name: module})
        return self.module(module, source or PLUGIN.format(name=architecture, module=module))

    def entry(self, name: str, /, folder: Path | None = None, **changes: Any) -> Path:
        """Writes an entry; a change to None takes the key away."""
        data = {"name": name, **ENTRY, **changes}
        path = (folder or self.registry) / name
        path.mkdir(parents=True, exist_ok=True)
        (path / "model.yaml").write_text(yaml.safe_dump({k: v for k, v in data.items() if v is not None}))
        return path

    def run(self, *args: str, python: bool = False, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs `python -m dgmcore ARGS` (or `python ARGS`) in another process."""
        path = os.pathsep.join([str(self.site), str(Path(__file__).parent.parent)])
        env = {**os.environ, "PYTHONPATH": path, **self.environment, **environment}
        command = [sys.executable, *([] if python else ["-m", "dgmcore"]), *args]
        return subprocess.run(command, env=env, cwd=self.work, capture_output=True, text=True, timeout=120)

    def enter(self, monkeypatch: Any) -> None:
        """Makes this process see the installation."""
        for key, value in self.environment.items():
            monkeypatch.setenv(key, value)
        monkeypatch.syspath_prepend(str(self.site))
        monkeypatch.chdir(self.work)


def trust(plugins: Path) -> None:
    """Writes down that the files of a plugin folder may run, as `dgm plugins --trust` does."""
    digests = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in plugins.glob("*.py")}
    (plugins.parent / "trusted-plugins.json").write_text(json.dumps(digests))


def forget() -> None:
    """Forgets the index, as if this process were new."""
    from dgmcore.plugins import current

    current._Memory.latest, current._Memory.checked = None, False


def listed(*args: Any, **filters: Any) -> list[dict[str, Any]]:
    """Returns the records of the models that are not the core's own."""
    from dgmcore import list_models
    from dgmcore.plugins import current

    bundled = {row.name for row in current.index().rows if row.origin == "core"}
    return [model for model in list_models(*args, **filters) if model["name"] not in bundled]


def invoke(capsys: Any, *args: str) -> tuple[int, str, str]:
    """Runs `dgm` in this process; returns the exit code, stdout and stderr."""
    from dgmcore.cli import main

    capsys.readouterr()
    code = main(list(args))
    out, err = capsys.readouterr()
    return code, out, err


def invoke_json(capsys: Any, *args: str) -> Any:
    code, out, err = invoke(capsys, *args, "--json")
    assert code == 0, err
    return json.loads(out)
