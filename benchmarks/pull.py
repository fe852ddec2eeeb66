"""Pulling weights, against `hf download` of the same file from the same server on loopback.

Both are commands of their own, from an empty cache, interleaved. `hf download` compares nothing; `dgm pull` has
verified the sha256 when it ends, and asks the Hub once more before.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from timing import interleaved

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

SIZES = {"1 MB": 1 << 18, "16 MB": 1 << 22, "128 MB": 1 << 25}  # numbers of 4 bytes
ENTRY = """\
schema: 1
name: bench
architecture: bench
license: cc0-1.0
data: {{dataset: moons, event_shape: [2]}}
weights: {{sha256: {sha256}, size: {size}, hub: {{repo: user/bench, revision: {revision}}}}}
"""


def run() -> list[dict]:
    return list(measure())


def measure() -> Iterator[dict]:
    import torch
    from hub_server import HubServer

    from dgmcore.files.tensors import write_tensors

    for name, numbers in SIZES.items():
        with tempfile.TemporaryDirectory() as folder, HubServer() as hub:
            home = Path(folder)
            stated = write_tensors({"w": torch.randn(numbers)}, home / "w.safetensors")
            commit = hub.add("user/bench", {"model.safetensors": home / "w.safetensors"})
            (home / "registry" / "bench").mkdir(parents=True)
            (home / "registry" / "bench" / "model.yaml").write_text(ENTRY.format(revision=commit, **stated._asdict()))
            here = {"DGM_REGISTRY": str(home / "registry"), "XDG_CACHE_HOME": str(home / "cache"), "DGM_PLUGINS": ""}
            environment = {**os.environ, **hub.environment(home), **here}
            subprocess.run([program("dgm"), "list"], env=environment, check=True, capture_output=True)  # the index
            pull = [program("dgm"), "pull", "bench"]
            download = [program("hf"), "download", "user/bench", "model.safetensors", "--revision", commit]
            call = partial(subprocess.run, env=environment, check=True, capture_output=True)
            ours, theirs = interleaved(
                partial(call, pull),
                partial(call, download),
                9,
                warmup=1,
                before=partial(shutil.rmtree, home / "hf", ignore_errors=True),
            )
            yield {"name": f"pull {name}", "ours": ours, "theirs": theirs, "unit": "s", "ratio": ours / theirs,
                         "note": "hf download"}  # fmt: skip


def program(name: str) -> str:
    """Returns the command of this environment, or the one on the path."""

    beside = Path(sys.executable).with_name(name)
    return str(beside) if beside.exists() else name


if __name__ == "__main__":
    for row in measure():
        print(
            f"{row['name']:12} dgm {row['ours']:.2f} s, hf download {row['theirs']:.2f} s, ratio {row['ratio']:.2f}",
            flush=True,
        )
