"""What the entries on moons are judged by: `python benchmarks/moons.py NAME...`, a line of JSON for each.

nll          mean of -log_prob in nats over 20,000 points of the test split (entropy of the data: 0.290)
std          its standard error
integral     of the density over a grid of 500 x 500 cells around the data
inverse_max  the largest |decode(encode(x)) - x| over the same points, by the entry's own number of steps
inverse_mean the mean of it
"""

from __future__ import annotations

import argparse
import json
import math

import numpy as np
import torch

import dgmcore
from dgmcore.data import open_data


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--n", type=int, default=20_000, help="points of the test split")
    parser.add_argument("--cells", type=int, default=500, help="of the grid, in each direction")
    parser.add_argument("--record", action="store_true", help="write the nll and the integral into the entries")
    args = parser.parse_args()
    x = open_data("moons:test").take(np.arange(args.n))
    for name in args.names:
        model = dgmcore.load(name)
        found = figures(model, x, args.cells)
        print(json.dumps({"name": name, **found}), flush=True)
        if args.record:
            keep(model, found, f"python benchmarks/moons.py {name} --n {args.n} --cells {args.cells}")


@torch.no_grad()
def figures(model: dgmcore.Model, x: torch.Tensor, cells: int) -> dict[str, float]:
    log_prob = model.log_prob(x).double()
    error = (model.decode(model.encode(x)) - x).abs().amax(1)
    low, high = torch.tensor([-2.5, -2.0]), torch.tensor([3.5, 2.5])
    width = (high - low) / cells
    axes = [a + w * (torch.arange(cells) + 0.5) for a, w in zip(low, width, strict=True)]
    density = model.log_prob(torch.cartesian_prod(*axes)).double().exp()
    return {
        "nll": round(-log_prob.mean().item(), 4),
        "std": round(log_prob.std().item() / math.sqrt(len(x)), 4),
        "n": len(x),
        "integral": round((density.sum() * width.prod()).item(), 5),
        "inverse_max": float(f"{error.max().item():.2e}"),
        "inverse_mean": float(f"{error.mean().item():.2e}"),
        "parameters": model.num_parameters(),
    }


def keep(model: dgmcore.Model, found: dict[str, float], command: str) -> None:
    """Writes the records into the entry."""

    from dgm_eval.records import record

    from dgmcore.config import to_dict
    from dgmcore.entry import Metric
    from dgmcore.files.folders import bundled_registry
    from dgmcore.registry.find import find

    same = {
        "sampling": to_dict(model.scoring({})),
        "weights": "ema" if model.entry.weights.ema else "raw",
        "command": command,
    }
    nll = Metric(
        name="nll", value=found["nll"], std=found["std"], n_real=found["n"], unit="nats", against="moons:test", **same
    )
    grid = "grid of cells over [-2.5, 3.5] x [-2, 2.5]"
    record(
        find(bundled_registry() / model.entry.name),
        [nll, Metric(name="integral", value=found["integral"], against=grid, **same)],
    )


if __name__ == "__main__":
    main()
