"""Out-of-distribution detection by the whole VAEBM (thesis, Table 4.8): a Markdown table.

    python benchmarks/ood_table.py [vaebm-fashion | vaebm-fashion-ml | vaebm-celeba-elbo] [--n 1000]

prints the AUROC with which log p tells test data from other data, by the VAE (its ELBO), by the energy alone, and by
the VAEBM, whose log p is the sum of both (eq. 4.13, without log Z, which no ranking needs). Beside other data sets
there are interpolations: means of pairs of test images. The intervals are 95 % of a bootstrap over the data.
"""

from __future__ import annotations

import argparse

import numpy as np
import torch
from dgm_eval.distances import auroc
from torch import Tensor

import dgmcore
from dgmcore.data import open_for

#: What is outside, by entry.
OUTSIDE = {
    "vaebm-fashion": ["mnist:test"],
    "vaebm-fashion-ml": ["mnist:test"],
    "vaebm-celeba-elbo": ["cifar10:test"],
}


@torch.no_grad()
def judgements(model: dgmcore.Model, x: Tensor, block: int = 50) -> dict[str, Tensor]:
    """Returns what the VAE, the energy and both say of the data `(n, ...)`, each `(n,)`."""

    base, weight = model.parts["base"], model.config.weight
    vae = torch.cat([base.log_prob(part) for part in x.split(block)])
    energy = torch.cat([weight * model.critic_score(part) for part in x.split(block)])
    return {"VAE": vae, "energy": energy, "VAEBM": vae + energy}


def interval(inside: Tensor, outside: Tensor, draws: int = 200) -> str:
    """Returns the AUROC with a bootstrap interval."""

    rng = np.random.default_rng(0)
    found = []
    for _ in range(draws):
        a, b = (torch.from_numpy(rng.integers(len(v), size=len(v))) for v in (inside, outside))
        found.append(auroc(inside[a], outside[b]))
    low, high = np.quantile(found, [0.025, 0.975])
    return f"{auroc(inside, outside):.3f} ({low:.3f} to {high:.3f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="vaebm-fashion", choices=list(OUTSIDE))
    parser.add_argument("--n", type=int, default=1000, help="data of each set")
    args = parser.parse_args()
    model = dgmcore.load(args.name)
    own = model.entry.data.dataset
    test = open_for(model, f"{own}:test")
    order = np.random.default_rng(0).permutation(len(test))
    chosen = test.take(order[: 2 * args.n])
    half = len(chosen) // 2
    sets = {name: open_for(model, name).take(np.arange(args.n)) for name in OUTSIDE[args.name]}
    sets["interpolations"] = (chosen[:half] + chosen[half:]) / 2
    inside = judgements(model, chosen[: args.n])
    print(f"| {args.name}: {own}:test against | {' | '.join(inside)} |\n| --- | --- | --- | --- |")
    for name, x in sets.items():
        outside = judgements(model, x)
        print(f"| {name} | {' | '.join(interval(inside[judge], outside[judge]) for judge in inside)} |", flush=True)


if __name__ == "__main__":
    main()
