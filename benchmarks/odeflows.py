r"""Dynamics of energies against flows of likelihood (thesis 5.5.1): a line of JSON for each data set.

    python benchmarks/odeflows.py                  the shipped entries
    python benchmarks/odeflows.py --train          trains anew by the recipes and judges that
    python benchmarks/odeflows.py --record         and writes the figures into the entries

For `odeflow-swissroll`, trained by the contrastive gradient, and `odeflow-swissroll-ml`, the same network trained by
the likelihood of eq. 5.7 (and for 9 Gaussians likewise, where likelihood has Fourier features, with which the other
diverges):

nll          mean of -log_prob in nats over the test points, by the entry's own solver
gap          between the two, with the bar that the thesis's figures set (0.17 and 0.48 there)
integral     of the density over a grid of cells around the data
nll_dopri5   nll by Dormand-Prince with a tolerance of 1e-5, as in the thesis, on the first 2,000 points

The exit status is 1 if a gap is over its bar or a density does not integrate to 1 within 1 %.
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import torch
from dgm_eval.records import record

import dgmcore
from dgmcore import registry
from dgmcore.data import open_data
from dgmcore.entry import Metric
from dgmcore.files.folders import bundled_registry

RECIPES = Path(__file__).parent.parent / "recipes"
BARS = {"swissroll": 0.2, "9gaussians": 0.5}


@torch.no_grad()
def figures(model: dgmcore.Model, data: str, n: int, cells: int) -> dict[str, float]:
    """Returns the figures of one flow on the test split of its data."""

    x = open_data(f"{data}:test").take(torch.arange(n).numpy())
    log_prob = model.log_prob(x).double()
    centre, half = (x.amax(0) + x.amin(0)) / 2, 1.5 * float((x.amax(0) - x.amin(0)).max()) / 2
    line = torch.linspace(-half + half / cells, half - half / cells, cells)
    mass = model.log_prob(torch.cartesian_prod(line, line) + centre).double().exp().sum() * (2 * half / cells) ** 2
    adaptive = model.log_prob(x[:2000], solver="dopri5", tolerance=1e-5, steps=1)
    return {
        "nll": round(float(-log_prob.mean()), 4),
        "std": round(float(log_prob.std()) / math.sqrt(n), 4),
        "integral": round(float(mass), 4),
        "nll_dopri5": round(float(-adaptive.mean()), 4),
        "nll_same_points": round(float(-log_prob[:2000].mean()), 4),
    }


def write(name: str, data: str, n: int, cells: int, found: dict[str, float]) -> None:
    """Records the figures in the entry `name`."""

    command = f"python benchmarks/odeflows.py --n {n} --cells {cells}"
    located = registry.find(bundled_registry() / name)
    given = {
        "against": f"{data}:test",
        "sampling": dict(located.entry.sampling),
        "weights": "ema" if located.entry.weights.ema else "raw",
        "command": command,
    }
    nll = Metric(name="nll", value=found["nll"], std=found["std"], unit="nats, estimate", n_real=n, **given)
    integral = Metric(name="integral", value=found["integral"], **{**given, "against": f"grid of {cells} x {cells}"})
    print(f"wrote {record(located, [nll, integral])}", file=sys.stderr)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", choices=list(BARS), action="append", help="one of them; repeatable")
    parser.add_argument("--train", action="store_true", help="train by the recipes instead of loading the entries")
    parser.add_argument("--n", type=int, default=10_000, help="test points")
    parser.add_argument("--cells", type=int, default=200, help="of the grid, in each direction")
    parser.add_argument("--record", action="store_true", help="write the figures into the shipped entries")
    a = parser.parse_args()
    failed = False
    for data in a.data or BARS:
        rows = {}
        for name in (f"odeflow-{data}", f"odeflow-{data}-ml"):
            if a.train:
                with tempfile.TemporaryDirectory() as folder:
                    out = Path(folder)
                    dgmcore.train(RECIPES / f"{name}.yaml", out=out, runs=out / "runs")
                    rows[name] = figures(dgmcore.load(str(out / name)), data, a.n, a.cells)
            else:
                rows[name] = figures(dgmcore.load(name), data, a.n, a.cells)
                if a.record:
                    write(name, data, a.n, a.cells, rows[name])
        contrastive, likelihood = rows.values()
        gap = round(contrastive["nll"] - likelihood["nll"], 4)
        line = {"data": data, "n": a.n, "gap": gap, "bar": BARS[data], "contrastive": contrastive}
        print(json.dumps({**line, "likelihood": likelihood}), flush=True)
        failed |= gap > BARS[data] or any(abs(row["integral"] - 1) > 0.01 for row in rows.values())
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
