"""Ablations of denoising diffusion GANs on 25 Gaussians (thesis, Table 6.2): a Markdown table.

    python benchmarks/ddgan_ablations.py [--steps 1500] [--width 128] [--seeds 3] [--only "T = 4"]

trains each variant of the recipe `ddgan-25gaussians`, smaller and shorter, with several seeds, and prints the mean over
seeds with the 95 % interval of Student's t: modes that are covered, the share of 10,000 samples within 3 standard
deviations of one, and the energy distance to as many data. Two variants differ where their intervals do not overlap.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import t

import dgmcore
from dgmcore.files import yaml

RECIPE = Path(__file__).parent.parent / "recipes/ddgan-25gaussians.yaml"
METRICS = {"modes": "modes", "within-3-sigma": "within 3 sigma", "energy-distance": "energy distance"}
#: What differs from the recipe in its config, and in the options of its phase.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "T = 1": ({"steps": 1}, {}),
    "T = 2": ({"steps": 2}, {}),
    "T = 4": ({}, {}),
    "T = 8": ({"steps": 8}, {}),
    "one-shot with augmentation": ({"steps": 1}, {"augment": 4}),
    "direct denoising": ({"parametrization": "direct"}, {}),
    "noise generation": ({"parametrization": "noise"}, {}),
    "no latent variable": ({"latent": 0}, {}),
}


def measured(variant: str, seed: int, steps: int, width: int, n: int) -> dict[str, float]:
    """Returns the figures of one run."""

    recipe = yaml.read(RECIPE)
    config, options = VARIANTS[variant]
    recipe["config"] |= config
    for network in ("generator", "discriminator"):
        recipe["config"][network]["width"] = width
    phase = recipe["phases"][0]
    recipe["phases"] = [{**phase, "steps": steps, "ema": 0.99, "options": {**phase["options"], **options}}]
    with tempfile.TemporaryDirectory() as folder:
        model = dgmcore.load(dgmcore.train({**recipe, "name": "variant", "seed": seed}, runs=folder))
    found = dgmcore.evaluate(model, list(METRICS), n=n, against="25gaussians:test")
    return {metric.name: metric.value for metric in found}


def interval(values: list[float]) -> str:
    """Returns the mean, and half the width of its 95 % interval where there are several values."""

    mean = float(np.mean(values))
    if len(values) < 2:
        return f"{mean:.3g}"
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return f"{mean:.3g} ± {half:.2g}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1500, help="of training")
    parser.add_argument("--width", type=int, default=128, help="of both networks")
    parser.add_argument("--seeds", type=int, default=3, help="runs of each variant")
    parser.add_argument("--n", type=int, default=10_000, help="samples")
    parser.add_argument("--only", action="append", choices=list(VARIANTS), help="one variant; repeatable")
    args = parser.parse_args()
    rows = []
    for variant in args.only or VARIANTS:
        runs = [measured(variant, seed, args.steps, args.width, args.n) for seed in range(args.seeds)]
        print(json.dumps({"variant": variant, "runs": runs}), flush=True)
        rows.append([variant, *(interval([run[metric] for run in runs]) for metric in METRICS)])
    for row in (["", *METRICS.values()], ["---"] * (1 + len(METRICS)), *rows):
        print(f"| {' | '.join(row)} |")


if __name__ == "__main__":
    main()
