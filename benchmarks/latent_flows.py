"""What the benchmarks of GLF and of VAEs with a flow prior share: small models, their training and their curves."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

import dgmcore
from dgmcore.errors import TrainingError

NETWORK = {"event_shape": [1, 28, 28], "latents": 20, "widths": [8, 16], "hidden": 0}
# as many couplings, as wide, as in thesis 3.4
FLOW = {"architecture": "coupling", "config": {"dim": 20, "blocks": 4, "hidden": 64}}
AUTOENCODER = {"autoencoder": {"architecture": "conv-autoencoder", "config": NETWORK}}
VAE = {"base": {"architecture": "conv-vae", "config": {**NETWORK, "decoder": "gaussian", "sigma": 2.0}}}


def trained(
    architecture: str, parts: dict[str, Any], phase: str, steps: int, options: dict[str, Any]
) -> dict[str, Any]:
    """Trains on Fashion-MNIST; returns the curves by name, the FID of 2000 samples, and how it failed, if it did."""

    recipe = {
        "schema": 1,
        "name": "small",
        "architecture": architecture,
        "license": "Apache-2.0",
        "data": {"dataset": "fashion", "range": [-1, 1]},
        "parts": {**parts, "flow": FLOW},
        "phases": [
            {
                "phase": phase,
                "batch_size": 128,
                "steps": steps,
                "options": options,
                "optimizer": {"name": "adam", "lr": 1.0e-3},
                "channels_last": True,
            }
        ],
    }
    with tempfile.TemporaryDirectory() as runs:
        failure, fid = None, None
        try:
            model = dgmcore.load(dgmcore.train(recipe, runs=runs))
            sampling = {"mean": True} if architecture == "vaeflow" else {}
            fid = dgmcore.evaluate(model, ["fid"], n=2000, **sampling)[0].value
        except TrainingError as e:
            failure = str(e).split(";")[0]
        lines = [json.loads(line) for line in (Path(runs) / "small/log.jsonl").read_text().splitlines()]
    rows = [r for r in lines if "nll" in r]
    curves = {key: [r[key] for r in rows] for key in rows[0] if isinstance(rows[0][key], float | int)}
    return {**curves, "fid": fid, "failure": failure}


def draw(results: dict[str, dict[str, Any]], panels: dict[str, tuple[str, bool]], path: Path) -> None:
    """Draws curves over steps; a panel is a key, its title and whether its axis is logarithmic."""

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(1, len(panels), figsize=(4 * len(panels), 3.4))
    for axis, (key, (title, logarithmic)) in zip(axes, panels.items(), strict=True):
        for name, r in results.items():
            if key in r:
                axis.plot(r["step"], r[key], label=name, linewidth=1.2)
        axis.set(title=title, xlabel="step")
        if logarithmic:
            axis.set_yscale("log")
    axes[0].legend(fontsize=8)
    figure.tight_layout()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=100)
    print(f"wrote {path}")
