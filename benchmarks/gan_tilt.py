"""Discriminator-driven latent sampling: a GAN before and after it is tilted by its own discriminator (thesis 4.2).

    python benchmarks/gan_tilt.py [dcgan-mnist] [--n 4000] [--seeds 5] [--steps 20]
                               [--sampler langevin --step-size 0.01]

prints a line of JSON for each number of steps: the energy distance (Ruthotto & Haber, Figure 11) of n
samples to n training data, its mean and standard error over seeds, and the discriminator's mean logit. Zero steps are
the GAN itself. A chain starts from what the GAN draws for that seed, so the mean of the changes seed by seed is given
as well; its standard error is below that of the distances where chains are short. The defaults are those of
`dgm sample NAME --tilt NAME`.
"""

from __future__ import annotations

import argparse
import json
import statistics
from statistics import fmean

import torch
from dgm_eval.distances import energy_distance

import dgmcore
from dgmcore.compose import tilt
from dgmcore.data import as_tensor, open_for


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="dcgan-mnist")
    parser.add_argument("--against", help="data; by default those that the model was trained on")
    parser.add_argument("--n", type=int, default=4000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, nargs="+", default=[20])
    parser.add_argument("--sampler", default="langevin", choices=["langevin", "metropolis"])
    parser.add_argument("--step-size", type=float, default=0.01)
    parser.add_argument("--weight", type=float, default=1.0, help="of the logit")
    args = parser.parse_args()
    if args.seeds < 2:
        parser.error("a standard error needs at least two seeds")
    model = dgmcore.load(args.name)
    tilted = tilt(model, model)
    real = as_tensor(open_for(model, args.against or f"{model.entry.data.dataset}:train"), args.n).flatten(1)
    plain: list[float] = []
    for steps in (0, *args.steps):
        options = {"sampler": args.sampler, "steps": steps, "step_size": args.step_size, "weight": args.weight}
        drawn, chosen = (tilted, options) if steps else (model, {})
        distances, logits = [], []
        for seed in range(args.seeds):
            x = dgmcore.sample(drawn, args.n, seed=seed, **chosen)
            distances.append(energy_distance(x.flatten(1), real))
            logits.append(logit(model, x))
        plain = plain or distances
        changes = [b - a for a, b in zip(plain, distances, strict=True)]
        row = {"name": args.name, **options, "n": args.n, "seeds": args.seeds, "logit": round(fmean(logits), 3)}
        row |= {"energy_distance": round(fmean(distances), 5), "error": round(error(distances), 5)}
        row |= {"change": round(fmean(changes), 5), "change_error": round(error(changes), 5)}
        print(json.dumps(row), flush=True)


def error(values: list[float]) -> float:
    """Returns the standard error of a mean."""

    return statistics.stdev(values) / len(values) ** 0.5


@torch.no_grad()
def logit(model: dgmcore.Model, x: torch.Tensor) -> float:
    return float(torch.cat([model.score(batch) for batch in x.split(500)]).mean())


if __name__ == "__main__":
    main()
