"""The shipped models as a distribution: found from a wheel, and not a second time in a checkout."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import dgm_weights

ROOT = Path(__file__).resolve().parents[3]


def test_a_checkout_has_them_once():
    assert dgm_weights.dgm_registries() == []
    assert (ROOT / "registry" / "realnvp-moons" / "model.safetensors").is_file()


def test_a_wheel_brings_them(tmp_path):
    """Laid out as in site-packages: the core has no registry beside it, the package has one inside."""
    site = tmp_path / "site-packages"
    shutil.copytree(ROOT / "dgmcore", site / "dgmcore", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(Path(dgm_weights.__file__).parent, site / "dgm_weights")
    about = site / "dgm_weights-0.1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: dgm-weights\nVersion: 0.1.0\n")
    (about / "entry_points.txt").write_text("[dgm]\nweights = dgm_weights\n")
    program = "import dgmcore; print([m['name'] for m in dgmcore.list_models()])"

    def found(cache: str) -> str:
        environment = {"PYTHONPATH": str(site), "HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / cache)}
        run = subprocess.run([sys.executable, "-c", program], env=environment, capture_output=True, text=True)
        return run.stdout.strip() or run.stderr

    assert found("without") == "[]"
    (site / "dgm_weights" / "registry").mkdir()
    shutil.copytree(ROOT / "registry" / "realnvp-moons", site / "dgm_weights" / "registry" / "realnvp-moons")
    assert found("with") == "['realnvp-moons']"


def test_the_cores_wheel_has_no_weights_under_its_licence():
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())
    assert "force-include" not in core["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert core["project"]["license"] == "Apache-2.0"
    weights = tomllib.loads((ROOT / "plugins" / "dgm-weights" / "pyproject.toml").read_text())
    assert "LicenseRef-CelebA-Non-Commercial" in weights["project"]["license"]
