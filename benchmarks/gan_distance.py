"""The distance between data and samples while GANs are trained (Ruthotto & Haber, Fig. 11).

    python benchmarks/gan_distance.py [--steps 1000] [--every 100] [--out docs/lecture/fig11.png] [--runs DIR]

trains the recipes of the two DCGANs and two WGANs of the lecture, from random weights and from the VAE, for `steps`
steps each of the first phase, without averaging of weights, and draws the validation that `dgm train` logs: the energy
distance to 2,000 test images, each measured with as many fresh samples. The line of a run that is there is read again.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import dgmcore
from dgmcore.files import yaml

RECIPES = Path(__file__).parent.parent / "recipes"
#: Entries in the paper's colours; dashed from random weights, solid from the VAE.
RUNS = {
    "dcgan-mnist": ("tab:blue", "--", "DCGAN, random weights"),
    "dcgan-mnist-vaeinit": ("tab:blue", "-", "DCGAN, from the VAE"),
    "wgan-mnist": ("tab:red", "--", "WGAN, random weights"),
    "wgan-mnist-vaeinit": ("tab:red", "-", "WGAN, from the VAE"),
}


def distances(name: str, steps: int, every: int, runs: Path) -> list[tuple[int, float]]:
    """Returns (step, energy distance) of one run, trained if its log is not in `runs`."""

    log = runs / name / "log.jsonl"
    if not log.is_file():
        recipe = yaml.read(RECIPES / f"{name}.yaml")
        phase = {**recipe["phases"][0], "steps": steps, "ema": None}
        data = {**recipe["data"], "split": "test", "limit": 2000}
        changed = {**recipe, "phases": [phase], "validate_every": every, "validation": data}
        dgmcore.train(changed, out=runs / "entries", runs=runs)
    rows = [json.loads(line) for line in log.read_text().splitlines()]
    return [(row["step"], row["validation"]) for row in rows if "validation" in row]


def draw(found: dict[str, list[tuple[int, float]]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axis = pyplot.subplots(figsize=(6, 3.6), layout="constrained")
    for name, points in found.items():
        colour, style, label = RUNS[name]
        axis.semilogy(*zip(*points, strict=True), style, color=colour, label=label)
    axis.set_xlabel("steps of the generator")
    axis.set_ylabel("energy distance to test images")
    axis.grid(alpha=0.3, which="both")
    axis.legend(frameon=False)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=90)
    print(f"wrote {path}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000, help="of each run")
    parser.add_argument("--every", type=int, default=100, help="steps from one measurement to the next")
    parser.add_argument("--out", type=Path, default=Path("docs/lecture/fig11.png"))
    parser.add_argument("--runs", type=Path, help="a folder in which the runs stay; by default they are removed")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        found = {}
        for name in RUNS:
            found[name] = distances(name, args.steps, args.every, args.runs or Path(temporary))
            print(json.dumps({"name": name, "distances": found[name]}), flush=True)
        draw(found, args.out)


if __name__ == "__main__":
    main()
