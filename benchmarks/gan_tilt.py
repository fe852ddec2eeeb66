"""Discriminator-driven latent sampling: a GAN before and after it is tilted by its own discriminator (thesis 4.2).

    python benchmarks/gan_tilt.py [dcgan-mnist] [--n 4000] [--steps 10 20 40] [--sampler metropolis --step-size 1]

prints a line of JSON for each number of steps: the energy distance (Ruthotto & Haber, Figure 11) of n
samples to n training images, and the discriminator's mean logit. Zero steps are the GAN itself.
"""

from __future__ import annotations

import argparse
import json

import torch

import dgmcore
from dgmcore.compose import tilt
from dgmcore.data import as_tensor, open_for
from dgmcore.evaluation.distances import energy_distance


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="dcgan-mnist")
    parser.add_argument("--against", default="mnist:train")
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--steps", type=int, nargs="+", default=[10, 20, 40])
    parser.add_argument("--sampler", default="langevin", choices=["langevin", "metropolis"])
    parser.add_argument("--step-size", type=float, default=0.01)
    parser.add_argument("--weight", type=float, default=1.0, help="of the logit")
    args = parser.parse_args()
    model = dgmcore.load(args.name)
    tilted = tilt(model, model)
    real = as_tensor(open_for(model, args.against), args.n).flatten(1)
    for steps in (0, *args.steps):
        options = {"sampler": args.sampler, "steps": steps, "step_size": args.step_size, "weight": args.weight}
        x = dgmcore.sample(tilted, args.n, seed=0, **options) if steps else dgmcore.sample(model, args.n, seed=0)
        row = {"name": args.name, **options, "n": args.n, "logit": round(logit(model, x), 3)}
        print(json.dumps({**row, "energy_distance": round(energy_distance(x.flatten(1), real), 4)}), flush=True)


@torch.no_grad()
def logit(model: dgmcore.Model, x: torch.Tensor) -> float:
    return float(torch.cat([model.score(batch) for batch in x.split(500)]).mean())


if __name__ == "__main__":
    main()
