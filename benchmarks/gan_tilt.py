"""Discriminator-driven latent sampling: a GAN before and after it is tilted by its own discriminator (thesis 4.2).

    python benchmarks/gan_tilt.py [dcgan-mnist] [--n 4000] [--seeds 5] [--steps 20] [--sampler metropolis --step-size 1]

prints a line of JSON for each number of steps: the energy distance (Ruthotto & Haber, Figure 11) of n
samples to n training images, its mean and standard error over seeds, and the discriminator's mean logit. Zero steps are
the GAN itself, which draws from the same seeds.
"""

from __future__ import annotations

import argparse
import json
import statistics
from statistics import fmean

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
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--sampler", default="metropolis", choices=["langevin", "metropolis"])
    parser.add_argument("--step-size", type=float, default=1.0)
    parser.add_argument("--weight", type=float, default=1.0, help="of the logit")
    args = parser.parse_args()
    model = dgmcore.load(args.name)
    tilted = tilt(model, model)
    real = as_tensor(open_for(model, args.against), args.n).flatten(1)
    for steps in (0, *args.steps):
        options = {"sampler": args.sampler, "steps": steps, "step_size": args.step_size, "weight": args.weight}
        drawn, chosen = (tilted, options) if steps else (model, {})
        distances, logits = [], []
        for seed in range(args.seeds):
            x = dgmcore.sample(drawn, args.n, seed=seed, **chosen)
            distances.append(energy_distance(x.flatten(1), real))
            logits.append(logit(model, x))
        error = statistics.stdev(distances) / args.seeds**0.5 if args.seeds > 1 else float("nan")
        row = {"name": args.name, **options, "n": args.n, "seeds": args.seeds, "logit": round(fmean(logits), 3)}
        print(json.dumps({**row, "energy_distance": round(fmean(distances), 5), "error": round(error, 5)}), flush=True)


@torch.no_grad()
def logit(model: dgmcore.Model, x: torch.Tensor) -> float:
    return float(torch.cat([model.score(batch) for batch in x.split(500)]).mean())


if __name__ == "__main__":
    main()
