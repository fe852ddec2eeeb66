r"""The likelihood of a VAEBM on 25 Gaussians, by numerical integration (thesis 4.4.1).

    python benchmarks/vaebm_toy.py vaebm-25gaussians
    python benchmarks/vaebm_toy.py vaebm-25gaussians --record     and into model.yaml, its base's too

The VAE's density :math:`p(x) = \int N(z; 0, I) \, N(x; \mu(z), \sigma(z)^2) \, dz` is integrated over a grid of z, the
normaliser :math:`Z = \int p(x) e^{s(x)} dx` over a grid of x. IWAE with 10,000 samples on some of the points shows
that the first integral is right.
"""

from __future__ import annotations

import argparse
import json
import math
import shlex
import sys

import torch
from dgm_eval.records import record
from torch import Tensor

import dgmcore
from dgmcore import registry
from dgmcore.data import open_data
from dgmcore.entry import Metric
from dgmcore.files.folders import bundled_registry
from dgmcore.noise import IndexedNoise


@torch.no_grad()
def mixture(base: dgmcore.Model, cells: int, half: float = 5.5) -> tuple[Tensor, Tensor, Tensor]:
    """Returns weights `(m,)` (logarithms), means and deviations `(m, 2)` of the VAE as a mixture over a grid of z."""

    line = torch.linspace(-half, half, cells)
    z = torch.cartesian_prod(line, line)
    log_w = -z.square().sum(1) / 2 - math.log(2 * math.pi) + 2 * math.log(line[1] - line[0])
    means, deviations = [], []
    for block in z.split(20_000):
        mean = base.push({"z": block, "x": torch.zeros(len(block), 2)})
        means.append(mean)
        deviations.append(base.push({"z": block, "x": torch.ones(len(block), 2)}) - mean)
    keep = log_w > log_w.max() - 16
    return log_w[keep], torch.cat(means)[keep], torch.cat(deviations)[keep]


def log_density(x: Tensor, parts: tuple[Tensor, Tensor, Tensor], block: int = 400) -> Tensor:
    """Returns the log-density of the mixture at `x` `(n, 2)`, shape `(n,)`."""

    log_w, mu, sigma = (t.double() for t in parts)
    precision = sigma**-2
    constant = log_w - sigma.log().sum(1) - math.log(2 * math.pi) - (mu**2 * precision).sum(1) / 2
    # the exponent is linear in (x^2, x, 1): one matrix product
    table = torch.cat([-precision / 2, mu * precision, constant[:, None]], 1).T.contiguous()
    out = []
    for part in x.double().split(block):
        features = torch.cat([part**2, part, torch.ones(len(part), 1, dtype=torch.float64)], 1)
        out.append(torch.logsumexp((features @ table).float(), 1))
    return torch.cat(out)


@torch.no_grad()
def report(name: str, n: int, cells: int, half: float, z_cells: int, iwae: int, k: int) -> dict[str, float]:
    model = dgmcore.load(name)
    base = model.parts["base"]
    data = open_data("25gaussians:test")
    x = data.take(torch.arange(n).numpy())
    parts = mixture(base, z_cells)
    log_base = log_density(x, parts)
    line = torch.linspace(-half + half / cells, half - half / cells, cells)
    grid = torch.cartesian_prod(line, line)
    log_grid = log_density(grid, parts) + 2 * math.log(2 * half / cells)
    score = torch.cat([model.config.weight * model.critic_score(b) for b in grid.split(50_000)])
    log_z = torch.logsumexp(log_grid + score, 0)
    tilted = log_base + model.config.weight * model.critic_score(x) - log_z
    truth = _truth(x, data.base.centres, data.base.scale)
    result = {
        "vaebm": float(tilted.mean()),
        "vae": float(log_base.mean()),
        "truth": float(truth.mean()),
        "n": n,
        "standard_error": float(tilted.std() / math.sqrt(n)),
        "log_z": float(log_z),
        "mass_of_the_vae_on_the_grid": float(torch.logsumexp(log_grid, 0).exp()),
    }
    if iwae:
        few = x[:iwae]
        bound = torch.cat([base.log_prob(b, noise=IndexedNoise(0, len(b)), k=k, chunk=500) for b in few.split(20)])
        result |= {"vae_iwae": float(bound.mean()), "vae_grid_same_points": float(log_base[:iwae].mean()), "k": k}
    return result


def write(name: str, found: dict[str, float]) -> None:
    """Records the likelihoods of the entry and, if that is an entry too, of its base."""

    words = ["python", "benchmarks/vaebm_toy.py", *(w for w in sys.argv[1:] if w != "--record")]
    base = dgmcore.load(name).shared_parts.get("base")
    rows = [
        (name, "vaebm", f"nats, log Z = {found['log_z']:.4f} and the VAE's density by numerical integration"),
        (base, "vae", "nats, by numerical integration over the latents"),
    ]
    for entry, key, unit in rows:
        if entry is not None:
            metric = Metric(
                name="nll",
                value=round(-found[key], 5),
                n_real=found["n"],
                unit=unit,
                against="25gaussians:test",
                weights="raw",
                floor=round(-found["truth"], 5),
                std=round(found["standard_error"], 5) if key == "vaebm" else None,
                command=shlex.join(words),
            )
            print(f"wrote {record(registry.find(bundled_registry() / entry), [metric])}", file=sys.stderr)


def _truth(x: Tensor, centres: Tensor, deviation: float) -> Tensor:
    squares = torch.cdist(x.double(), centres.double()).square() / (2 * deviation**2)
    return torch.logsumexp(-squares, 1) - math.log(len(centres) * 2 * math.pi * deviation**2)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("name", nargs="?", default="vaebm-25gaussians")
    parser.add_argument("--n", type=int, default=100_000, help="test points")
    parser.add_argument("--cells", type=int, default=400, help="cells of x a side")
    parser.add_argument("--half", type=float, default=4.0, help="half the side of the square of x")
    parser.add_argument("--z-cells", type=int, default=400, help="points of z a side")
    parser.add_argument("--iwae", type=int, default=200, help="points for the IWAE bound of the VAE")
    parser.add_argument("--k", type=int, default=10_000, help="importance samples")
    parser.add_argument("--record", action="store_true", help="write the likelihoods into the entries")
    a = parser.parse_args()
    found = report(a.name, a.n, a.cells, a.half, a.z_cells, a.iwae, a.k)
    print(json.dumps(found, indent=2))
    if a.record:
        write(a.name, found)


if __name__ == "__main__":
    main()
