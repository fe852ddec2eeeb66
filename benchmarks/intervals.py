"""How often the intervals of docs/evaluation.md cover what the protocol gives on average, for each metric of two sets.

    python benchmarks/intervals.py [--metric fid] [--draws 100]

draws two sets of 150 points in three dimensions from two Gaussians, measures them by the plugin's own metrics, and does
so again and again. The value on average is the mean of all values, but for `fid-infinity` that of the two Gaussians. A
classifier of four classes stands in for the feature network. No race: prints a table, and exits with 1 where fewer than
90 of 100 intervals hold the value.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Callable, Hashable
from types import SimpleNamespace
from typing import Any

import torch
from dgm_eval.metrics import energy_distance, fid, inception_score, kernel_distance, precision_recall
from dgm_eval.two_samples import curve, extrapolated, kernels, neighbours
from torch import Tensor

POINTS, DIMENSIONS, SHIFT, SCALE = 150, 3, 0.4, 1.2
METRICS: dict[str, Callable[[Any], Any]] = {
    "fid": fid.fid,
    "fid-infinity": extrapolated.fid_infinity,
    "fid-per-class": extrapolated.fid_per_class,
    "kid": kernel_distance.kid,
    "inception-score": inception_score.inception_score,
    "precision": precision_recall.precision,
    "recall": precision_recall.recall,
    "density": neighbours.density,
    "coverage": neighbours.coverage,
    "c2st": neighbours.c2st,
    "memorisation": neighbours.memorisation,
    "mmd": kernels.mmd_metric,
    "sliced-wasserstein": kernels.sliced_wasserstein_metric,
    "prd-precision": curve.prd_precision,
    "prd-recall": curve.prd_recall,
    "energy-distance": energy_distance.energy_metric,
}


class Classifier:
    """Stands in for a feature network: features are the points, classes those of four corners."""

    is_classifier = True

    def features(self, x: Tensor) -> Tensor:
        return x

    def logits(self, x: Tensor) -> Tensor:
        return 2 * torch.stack([x[:, 0], -x[:, 0], x[:, 1], -x[:, 1]], 1)

    def fields(self) -> dict[str, Any]:
        return {}


class Draw:
    """Samples, real data and other real data as a metric asks for them: a `dgmcore.evaluation.Run`."""

    features_name, against, other_name, sampling, seed, device = "toy", "toy:test", "toy:train", {}, 0, "cpu"
    extractor = Classifier()
    entry = SimpleNamespace(data=SimpleNamespace(range=None, levels=None))

    def __init__(self, number: int):
        normal = torch.Generator().manual_seed(number)
        x, y, other = torch.randn(3, POINTS, DIMENSIONS, generator=normal, dtype=torch.float64)
        self.points, self.kept = {"samples": SHIFT + SCALE * x, "real": y, "other": other}, {}

    def samples(self, view: Callable[..., Tensor]) -> Tensor:
        return view(self, self.points["samples"])

    def real(self, view: Callable[..., Tensor]) -> Tensor:
        return view(self, self.points["real"])

    def other(self, view: Callable[..., Tensor]) -> Tensor:
        return view(self, self.points["other"])

    def once(self, key: Hashable, compute: Callable[[], Any]) -> Any:
        return self.kept[key] if key in self.kept else self.kept.setdefault(key, compute())

    def record(self, name: str, value: float, **fields: Any) -> SimpleNamespace:
        return SimpleNamespace(name=name, value=value, interval=fields["interval"])


def coverage(metric: str, draws: int) -> float:
    """Returns the share of draws whose interval holds the value on average."""
    found = [METRICS[metric](Draw(number)) for number in range(draws)]
    records = [r[0] if isinstance(r, list) else r for r in found]
    average = math.fsum(r.value for r in records) / draws
    truth = DIMENSIONS * (SHIFT**2 + (SCALE - 1) ** 2) if metric == "fid-infinity" else average
    return sum(r.interval[0] <= truth <= r.interval[1] for r in records) / draws


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--metric", action="append", choices=METRICS, help="default: all")
    parser.add_argument("--draws", type=int, default=100)
    args = parser.parse_args()
    print("| metric | intervals that hold the value |\n| --- | ---: |")
    worst = 1.0
    for metric in args.metric or METRICS:
        share = coverage(metric, args.draws)
        worst = min(worst, share)
        print(f"| `{metric}` | {100 * share:.0f} % of {args.draws} |", flush=True)
    return int(worst < 0.9)


if __name__ == "__main__":
    sys.exit(main())
