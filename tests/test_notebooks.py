"""The lecture's notebooks run from their first cell to their last, with a few steps of training and a small MNIST."""

from __future__ import annotations

import os
import re
from pathlib import Path

import nbformat
import numpy as np
import pytest
from hub_server import HubServer
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
#: What the cell that is tagged `parameters` says in tests.
SMALL = "steps = 3\nn = 40"


@pytest.fixture(scope="module")
def kernel(tmp_path_factory):
    """One kernel for all, as starting torch takes longer than most notebooks; its MNIST is noise."""
    data = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    images, labels = rng.integers(0, 256, (600, 28, 28), np.uint8), np.arange(600) % 10
    np.savez(data / "mnist.npz", x_train=images, y_train=labels, x_test=images, y_test=labels)
    manager = KernelManager(kernel_name="python3")
    manager.start_kernel(env={**os.environ, "DGM_DATA": str(data), "OMP_NUM_THREADS": "1"}, cwd=str(data))
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.stem)
def test_a_notebook_runs(path, kernel):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    small = [cell for cell in notebook.cells if "parameters" in cell.metadata.get("tags", [])]
    assert len(small) == 1, "one cell says how much is trained"
    small[0].source = SMALL
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, km=kernel, timeout=120)
    client.execute()
    client.kc.stop_channels()
    printed = "".join(o.get("text", "") for cell in notebook.cells for o in cell.get("outputs", []))
    assert "nan" not in printed and printed.strip()
    assert all(c.isprintable() or c == "\n" for c in printed), "no bar that moves a cursor"


def test_there_is_one_for_each_part_of_the_lecture_with_its_results():
    assert [p.stem for p in NOTEBOOKS] == ["1-real-nvp", "2-ot-flow", "3-vae", "4-dcgan", "5-wgan"]
    for path in NOTEBOOKS:
        notebook = nbformat.read(path, as_version=4)
        outputs = [o for cell in notebook.cells for o in cell.get("outputs", [])]
        assert any("image/png" in o.get("data", {}) for o in outputs), "readers see the pictures without running it"
        assert not any(o.output_type == "error" for o in outputs)
        assert path.stat().st_size < 400_000


#: Calls, and what they show where each counts as long.
LONG_CALLS = {
    "import dgmcore.console; dgmcore.console.CELL_SECONDS = 0": "",
    "x = dgmcore.sample('realnvp-moons', 2000, batch_size=500)": r"sampling  100%  2,000/2,000 samples  [\d,]+/s",
    "dgmcore.score('realnvp-moons', x, batch_size=500).n": r"scoring  2,000 data  [\d,]+/s",
    "dgmcore.evaluate('realnvp-moons', ['nll'], 900).pop().n_real": r"likelihood  100%  900/900  [\d,]+/s",
    "dgmcore.train({'schema': 1, 'name': 'a', 'architecture': 'realnvp', 'license': 'MIT', 'data': {'dataset': 'moons'}"
    ", 'phases': [{'phase': 'likelihood', 'steps': 3}]}).name": r"a: likelihood  100%  3/3 steps  \S+/s  loss [\d.]+",
    "dgmcore.load('hf://user/net').entry.name": r"user/net/model.yaml .*realnvp-moons  100%  \d+ kB/\d+ kB .*B/s",
    "!dgm sample realnvp-moons -n 20 --batch-size 10 --out a.npy; dgm list": "",
}


def test_long_calls_show_in_their_cell_how_far_they_are(tmp_path):
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(call) for call in LONG_CALLS])
    with HubServer() as hub:
        hub.add("user/net", {p.name: p.read_bytes() for p in (ROOT / "registry" / "realnvp-moons").glob("model.*")})
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(env={**os.environ, **hub.environment(tmp_path), "OMP_NUM_THREADS": "1"}, cwd=str(tmp_path))
        try:
            client = NotebookClient(notebook, km=manager, timeout=120)
            client.execute()
            client.kc.stop_channels()
        finally:
            manager.shutdown_kernel(now=True)
    for call, cell in zip(LONG_CALLS, notebook.cells, strict=True):
        shown = [o["data"]["text/plain"] for o in cell.outputs if o.output_type == "display_data"]
        assert re.fullmatch(LONG_CALLS[call], " ".join(shown)), (call, shown)
        text = "".join(o.get("text", "") or o["data"]["text/plain"] for o in cell.outputs)
        assert all(c.isprintable() or c in "\r\n" for c in text) and "Warning" not in text, text
