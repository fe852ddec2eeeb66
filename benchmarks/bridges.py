"""What the bridges in the plane are judged by: `python benchmarks/bridges.py NAME...`, a line of JSON for each.

to_data, to_prior       energy distance of what each direction draws to fresh data, or points of the prior
floor_data, floor_prior that of two draws of the data, or of the prior
cost                    mean |x - y|^2 between the ends of chains from data to the prior, and back
sinkhorn                that of entropic optimal transport between the two, regularised as the bridge is
Each is the mean over `--seeds` draws of `--n` points, with its standard error.
"""

from __future__ import annotations

import argparse
import json
import math
from collections import deque

import numpy as np
import torch
from dgm_diffusion.schroedinger.chain import Bridge
from dgm_diffusion.schroedinger.sinkhorn import sinkhorn
from dgm_eval.metrics.energy_distance import energy_distance
from torch import Tensor

import dgmcore
from dgmcore.data import open_data
from dgmcore.noise import IndexedNoise


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", metavar="NAME")
    parser.add_argument("--n", type=int, default=4000, help="points of each draw")
    parser.add_argument("--coupled", type=int, default=1000, help="points that Sinkhorn's algorithm couples")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--record", action="store_true", help="write the figures into the entries")
    args = parser.parse_args()
    for name in args.names:
        model = dgmcore.load(name)
        rows = [figures(model, seed, args.n, args.coupled) for seed in range(args.seeds)]
        found = {key: summary([row[key] for row in rows]) for key in rows[0]}
        print(json.dumps({"name": name, **found}), flush=True)
        if args.record:
            keep(model, found, args.n, f"python benchmarks/bridges.py {name} --n {args.n} --seeds {args.seeds}")


@torch.no_grad()
def figures(model: Bridge, seed: int, n: int, coupled: int) -> dict[str, float]:
    """One draw of everything."""

    noise = IndexedNoise(seed, n)
    data = [points(model, f"{seed}/{i}", n) for i in range(3)]
    prior = [model.prior_points(noise.child(f"prior {i}"), "test") for i in range(3)]
    onward = deque(model.transport(data[0], noise.child("onward"), "to-prior"), maxlen=1).pop()
    backward = deque(model.transport(prior[0], noise.child("backward"), "to-data"), maxlen=1).pop()
    regularization = 2 * model.config.sigma**2
    return {
        "to_data": energy_distance(backward, data[1]),
        "floor_data": energy_distance(data[2], data[1]),
        "to_prior": energy_distance(onward, prior[1]),
        "floor_prior": energy_distance(prior[2], prior[1]),
        "cost_onward": squared(data[0], onward),
        "cost_backward": squared(prior[0], backward),
        "sinkhorn": sinkhorn(data[0][:coupled], prior[0][:coupled], regularization).cost,
    }


def points(model: Bridge, name: str, n: int) -> Tensor:
    """Returns `n` points of the test split, another choice for each name."""

    data = open_data(f"{model.entry.data.dataset}:test")
    index = IndexedNoise(0, n, scope=f"bridges/{name}").integers(len(data)).numpy()
    return data.take(np.asarray(index))


def squared(x: Tensor, y: Tensor) -> float:
    return float((x - y).square().flatten(1).sum(1).mean())


def summary(values: list[float]) -> tuple[float, float]:
    """Returns the mean and its standard error."""

    spread = float(np.std(values, ddof=1)) / math.sqrt(len(values)) if len(values) > 1 else 0.0
    return float(f"{np.mean(values):.4g}"), float(f"{spread:.2g}")


def keep(model: Bridge, found: dict[str, tuple[float, float]], n: int, command: str) -> None:
    """Writes the records into the entry."""

    from dgm_eval.records import record

    from dgmcore.entry import Metric
    from dgmcore.registry.find import find

    weights = "ema" if model.entry.weights.ema else "raw"
    prior = getattr(model.config, "prior", None)
    ends = {"data": f"{model.entry.data.dataset}:test", "prior": f"{prior.dataset}:test" if prior else "prior"}
    rows = [
        Metric(
            name="energy-distance",
            value=found[f"to_{end}"][0],
            std=found[f"to_{end}"][1],
            floor=found[f"floor_{end}"][0],
            n=n,
            n_real=n,
            unit="eps 0.1 in the root",
            against=against,
            sampling={"direction": f"to-{end}", "sampler": "chain"},
            weights=weights,
            command=command,
        )
        for end, against in ends.items()
    ]
    rows += [
        Metric(
            name="transport-cost",
            value=found[f"cost_{way}"][0],
            std=found[f"cost_{way}"][1],
            floor=found["sinkhorn"][0],
            n=n,
            unit="mean squared distance; floor: Sinkhorn's",
            against=against,
            sampling={"direction": direction, "sampler": "chain"},
            weights=weights,
            command=command,
        )
        for way, direction, against in (("onward", "to-prior", ends["prior"]), ("backward", "to-data", ends["data"]))
    ]
    record(find(model.entry.name), rows)


if __name__ == "__main__":
    main()
