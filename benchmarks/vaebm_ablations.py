"""Ablations of VAEBM on Fashion-MNIST (thesis, Table 4.6): a Markdown table.

    python benchmarks/vaebm_ablations.py [--steps 400] [--n 2000] [--seeds 1] [--only "EBM on x"]

Each variant trains the energy network of `vaebm-fashion` by maximum likelihood, from `vae-fashion` where it has a VAE,
for as many steps, with chains of ten steps where it has any (the energy on x alone from noise: 20). Two variants train
the VAE's decoder too: the Wasserstein GAN has no chains at all, its negatives are the VAE's draws. FIDs are in features
of `lenet-fashion` against the test split, with the 95 % interval of the jackknife over samples and data for one seed,
or of Student's t over seeds.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

from ddgan_ablations import interval

import dgmcore
from dgmcore.entry import Metric
from dgmcore.files import yaml

RECIPES = Path(__file__).parent.parent / "recipes"
ENERGY = {
    "architecture": "resnet-energy",
    "config": {"event_shape": [1, 28, 28], "channels": 32, "layout": "1d 2d 4", "stem_stride": 2, "scale": 3.0},
}
COMMON = {"spectral_weight": 0.2, "adam_clip": 3.0}
REGULAR = {"spectral_weight": 0.02, "energy_weight": 0.001, "adam_clip": None}
#: Of chains on x: short runs with little noise, as those of `ebm-fashion`.
ON_X = {"steps": 20, "step_size": 0.2, "noise_scale": 0.05}
FROM_VAE = {"steps": 10, "step_size": 0.05, "noise_scale": 0.02}
#: Of chains on the VAE's noise, at the decoder's mean as in `vaebm-fashion`.
ON_LATENTS = {"steps": 10, "step_size": 0.05}
#: The VAE as a part of the model, whose decoder is trained too.
OWN = {"architecture": "conv-vae", "config": yaml.read(RECIPES / "vae-fashion.yaml")["config"], "init": "vae-fashion"}


def energy_on_x(parts: dict[str, Any], chain: dict[str, Any]) -> dict[str, Any]:
    """Returns the part of a recipe of an energy of x alone."""

    options = {**REGULAR, **chain, "chains": "short-run"}
    return {
        "architecture": "started-ebm" if "start" in parts else "ebm",
        "parts": {"energy": ENERGY, **parts},
        "phases": [{"phase": "likelihood", "options": options}],
        "sampling": chain,
    }


def tilted(base: Any, chain: dict[str, Any], **options: Any) -> dict[str, Any]:
    """Returns the part of a recipe of a tilted VAE."""

    return {
        "architecture": "vaebm",
        "config": {"mean": ["x"]},
        "parts": {"base": base, "critic": ENERGY},
        "phases": [{"phase": "energy", "options": {**REGULAR, **chain, **options}}],
        "sampling": chain,
    }


VARIANTS: dict[str, dict[str, Any] | None] = {
    "VAE": None,
    "EBM on x": energy_on_x({}, ON_X),
    "EBM on x, chains start at the VAE": energy_on_x({"start": "vae-fashion"}, FROM_VAE),
    "WGAN from the VAE's decoder": tilted(OWN, {"steps": 0}, kl_weight=1.0),
    "VAEBM, decoder trained too": tilted(OWN, ON_LATENTS, kl_weight=1.0, positives="reconstruction"),
    "VAEBM": tilted("vae-fashion", ON_LATENTS, positives="reconstruction"),
}
#: What all trainings share.
TRAINING: dict[str, Any] = {
    "batch_size": 64,
    "optimizer": {"name": "adam", "lr": 4.0e-4, "betas": [0.9, 0.99]},
    "schedule": {"name": "cosine", "warmup": 50, "final": 2.0e-5},
    "ema": 0.98,
    "precision": "bf16",
    "channels_last": True,
}


def measured(variant: str, seed: int, steps: int, n: int) -> Metric:
    """Returns the FID of one run."""

    own = VARIANTS[variant]
    if own is None:
        (found,) = dgmcore.evaluate(dgmcore.load("vae-fashion"), ["fid"], n=n)
        return found
    recipe = {
        "schema": 1,
        "name": "variant",
        "license": "Apache-2.0",
        "data": {"dataset": "fashion", "range": [-1, 1]},
        "seed": seed,
        "threads": 1,
        **own,
        "phases": [{**phase, **TRAINING, "steps": steps} for phase in own["phases"]],
    }
    with tempfile.TemporaryDirectory() as folder:
        model = dgmcore.load(dgmcore.train(recipe, runs=folder))
        (found,) = dgmcore.evaluate(model, ["fid"], n=n, features="lenet-fashion")
    return found


def shown(runs: list[Metric]) -> str:
    """Returns the mean over seeds with half the width of its interval; of one seed the interval of the metric."""

    if len(runs) > 1:
        return interval([run.value for run in runs])
    return "{:.2f} ({:.2f} to {:.2f})".format(runs[0].value, *runs[0].interval)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=400, help="of training")
    parser.add_argument("--n", type=int, default=2000, help="samples")
    parser.add_argument("--seeds", type=int, default=1, help="runs of each variant")
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="one variant; repeatable")
    args = parser.parse_args()
    rows = []
    for variant in args.only or VARIANTS:
        seeds = range(args.seeds if VARIANTS[variant] else 1)
        runs = [measured(variant, seed, args.steps, args.n) for seed in seeds]
        print(json.dumps({"variant": variant, "fid": [run.value for run in runs]}), flush=True)
        rows.append([variant, shown(runs)])
    for row in (["", "FID"], ["---"] * 2, *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
