"""Models are built, sampled and scored without the code that trains them."""

from __future__ import annotations

import os
import subprocess
import sys

# each shipped entry's architecture, its parts' and every other one that a plugin brings: its example, else an entry
SCRIPT = """
import sys

import torch

import dgmcore
from dgmcore.errors import PluginError, UsageError
from dgmcore.noise import IndexedNoise
from dgmcore.plugins import architectures
from dgm_authors.subject import subject

entries = {model["architecture"]: model["name"] for model in dgmcore.list_models()}
assert set(entries) <= set(architectures()), set(entries) - set(architectures())
for name in sorted(architectures()):
    try:
        model = subject(name).model
    except UsageError:  # it has no example of its parts
        if name not in entries:
            continue
        model = dgmcore.load(entries[name])
    except PluginError:  # it is installed but not here: `dgm plugins` says so
        assert name not in entries, name
        continue
    with torch.no_grad():
        if model.can("generator"):
            model.sample(IndexedNoise(0, 2))
        if model.can("critic"):
            model.score(torch.zeros(2, *model.event_shape))
    trains = [m for m in sys.modules if m.startswith(("dgmcore.training", "dgm_train")) or m.endswith(".training")]
    assert not trains, f"{name} imports {trains}"
print(len(entries), len(architectures()))
"""


def test_no_architecture_samples_with_training_code():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DGM_")}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    shipped, known = map(int, done.stdout.split())
    assert shipped > 20 and known >= shipped


def test_a_command_that_samples_imports_no_training_code(tmp_path):
    script = "import sys; from dgmcore.cli import main; code = main(sys.argv[1:]); print(*sys.modules); sys.exit(code)"
    command = ["sample", "realnvp-moons", "-n", "4", "--out", "x.npy"]
    done = subprocess.run([sys.executable, "-c", script, *command], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    strange = ("dgmcore.training", "dgmcore.evaluation", "dgm_train", "dgm_eval", "accelerate", "dgm_flows.training")
    assert not [m for m in done.stdout.split() if m.startswith(strange)]
