r"""Why GLF stops the gradient: the regularised variant's instability, as in thesis Fig. 3.7.

    python benchmarks/glf_stability.py

Trains GLF and regularised GLF (no stop) with several weights beta of the reconstruction, from the same weights on the
same batches, and draws four curves each: the flow's loss, the scale of the codes, the reconstruction's error, and the
distance of samples from data. Without the stop the flow's loss falls without bound as the codes shrink, and
oscillates; with it, it settles. Fashion-MNIST, a small auto-encoder; the constant learning rate of the thesis.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path
from typing import Any

import torch

import dgmcore
from dgmcore.data import as_tensor, open_for

HERE = Path(__file__).parent
AUTOENCODER = {
    "architecture": "conv-autoencoder",
    "config": {"event_shape": [1, 28, 28], "latents": 20, "widths": [8, 16], "hidden": 0},
}
FLOW = {"architecture": "coupling", "config": {"dim": 20, "blocks": 4, "hidden": 64}}


def recipe(name: str, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    phase = {"phase": "glf", "batch_size": 128, "steps": steps, "options": options}
    return {
        "schema": 1,
        "name": name,
        "architecture": "glf",
        "license": "Apache-2.0",
        "data": {"dataset": "fashion", "range": [-1, 1]},
        "parts": {"autoencoder": AUTOENCODER, "flow": FLOW},
        "phases": [{**phase, "optimizer": {"name": "adam", "lr": 1.0e-3}, "channels_last": True}],
    }


def curves(name: str, steps: int, options: dict[str, Any]) -> dict[str, Any]:
    """Trains one variant; returns its logged curves, how it ended, and the distance of its samples to data."""

    with tempfile.TemporaryDirectory() as runs:
        failure = None
        try:
            folder = dgmcore.train(recipe(name, steps, options), runs=runs)
        except dgmcore.errors.TrainingError as e:
            folder, failure = None, str(e).split(";")[0]
        lines = [json.loads(line) for line in (Path(runs) / name / "log.jsonl").read_text().splitlines()]
        rows = [r for r in lines if "nll" in r]
        result = {key: [r[key] for r in rows] for key in ("step", "nll", "code_scale", "recon")}
        result |= {"failure": failure, "distance": None if folder is None else distance(folder)}
    return result


@torch.no_grad()
def distance(folder: Path, n: int = 1000) -> float:
    """Returns the energy distance of samples to test data, in pixels."""

    model = dgmcore.load(folder)
    x = as_tensor(open_for(model, "fashion:test"), n).flatten(1)
    y = dgmcore.sample(model, n).flatten(1)
    return float(2 * torch.cdist(x, y).mean() - torch.cdist(x, x).mean() - torch.cdist(y, y).mean())


def draw(results: dict[str, dict[str, Any]], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, 3, figsize=(12, 3.4))
    panels = (("nll", "flow's loss, nats"), ("code_scale", "deviation of the codes"), ("recon", "squared error"))
    for axis, (key, title) in zip(axes, panels, strict=True):
        for name, r in results.items():
            axis.plot(r["step"], r[key], label=name, linewidth=1.2)
        axis.set(title=title, xlabel="step")
    axes[1].set_yscale("log")
    axes[2].set_yscale("log")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=110)


def roughness(values: list[float]) -> float:
    """Returns the mean absolute change between logged values in the second half of training."""

    half = torch.tensor(values[len(values) // 2 :])
    return float(half.diff().abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=1000)
    parser.add_argument("--betas", type=float, nargs="*", default=[0.1, 1.0, 10.0], help="of the regularised variant")
    parser.add_argument("--out", type=Path, default=HERE.parent / "docs/families/glf-stability.png")
    a = parser.parse_args()
    variants = {"GLF": {}, **{f"regularised, beta {b:g}": {"stop_gradient": False, "beta": b} for b in a.betas}}
    results = {}
    print(f"{'':26}{'flow loss':>11}{'its change':>12}{'code scale':>12}{'error':>9}{'energy dist.':>14}")
    for name, options in variants.items():
        r = results[name] = curves("glf-stability", a.steps, options)
        far = "-" if r["distance"] is None else f"{r['distance']:.3f}"
        values = f"{r['nll'][-1]:>11.2f}{roughness(r['nll']):>12.2f}{r['code_scale'][-1]:>12.4f}{r['recon'][-1]:>9.1f}"
        print(f"{name:26}{values}{far:>14}  {r['failure'] or ''}", flush=True)
    draw(results, a.out)
    print(f"wrote {a.out}")


if __name__ == "__main__":
    main()
