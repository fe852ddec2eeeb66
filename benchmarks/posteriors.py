"""Posteriors that a flow has bent against the plain one, on toy data: a Markdown table.

    python benchmarks/posteriors.py [--steps 1500] [--seeds 3]

trains the same small VAE on the data set `swissroll` with each posterior and several seeds, and prints the ELBO (k = 1)
of 10,000 test points, the importance-weighted bound (k = 100) of 1,000 of them, which is near log p(x), and their gap:
what the posterior loses. Each figure is the mean over seeds with the 95 % interval of Student's t.
"""

from __future__ import annotations

import argparse
import tempfile

import numpy as np
import torch
from ddgan_ablations import interval

import dgmcore
from dgmcore.data import open_data

POSTERIORS = ("normal", "planar", "radial", "iaf", "cnf")


def bounds(posterior: str, seed: int, steps: int) -> tuple[float, float]:
    """Returns the ELBO and the bound with k = 100 of one run, in nats."""

    recipe = {
        "schema": 1,
        "name": "toy",
        "architecture": "mlp-vae",
        "license": "Apache-2.0",
        "seed": seed,
        "config": {
            "dim": 2,
            "latents": 2,
            "hidden": [64, 64],
            "activation": "silu",
            "decoder": "gaussian",
            "sigma": 0.15,
            "posterior": posterior,
            "flow_steps": 8,
        },
        "data": {"dataset": "swissroll", "options": {"noise": 0.3}},
        "phases": [
            {
                "phase": "elbo",
                "batch_size": 256,
                "steps": steps,
                "optimizer": {"lr": 2e-3},
                "schedule": {"name": "cosine"},
            }
        ],
    }
    with tempfile.TemporaryDirectory() as folder:
        model = dgmcore.load(dgmcore.train(recipe, runs=folder))
    x = open_data("swissroll:test", options={"noise": 0.3}).take(np.arange(10_000))
    with torch.no_grad():
        return float(model.log_prob(x).mean()), float(model.log_prob(x[:1000], k=100).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each posterior")
    args = parser.parse_args()
    print("| posterior | ELBO, nats | bound with k = 100 | gap |\n| --- | --- | --- | --- |")
    for posterior in POSTERIORS:
        found = [bounds(posterior, seed, args.steps) for seed in range(args.seeds)]
        columns = [[a for a, _ in found], [b for _, b in found], [b - a for a, b in found]]
        print(f"| {posterior} | {' | '.join(interval(column) for column in columns)} |", flush=True)


if __name__ == "__main__":
    main()
