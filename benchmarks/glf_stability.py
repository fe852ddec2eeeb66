r"""Why GLF stops the gradient: the regularised variant's instability, as in thesis Fig. 3.7.

    python benchmarks/glf_stability.py

Trains GLF and regularised GLF (no stop) with several weights beta of the reconstruction, from the same weights on the
same batches of Fashion-MNIST, with the constant learning rate of the thesis. Without the stop the flow's loss falls far
below zero as the codes shrink, and jumps; the smaller beta, the more of the reconstruction is lost.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from latent_flows import AUTOENCODER, draw, trained

PANELS = {
    "nll": ("flow's loss, nats", False),
    "code_scale": ("deviation of the codes", True),
    "recon": ("squared error of reconstructions", True),
}


def roughness(values: list[float]) -> float:
    """Returns the mean absolute change between neighbours in the second half of a curve."""

    return float(torch.tensor(values[len(values) // 2 :]).diff().abs().mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--betas", type=float, nargs="*", default=[0.003, 0.03, 0.3], help="without the stop")
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs/families/glf-stability.png")
    a = parser.parse_args()
    variants = {"GLF": {}, **{f"regularised, beta {b:g}": {"stop_gradient": False, "beta": b} for b in a.betas}}
    results = {}
    print(f"{'':26}{'flow loss':>11}{'its jumps':>11}{'code scale':>12}{'error':>9}{'FID':>9}")
    for name, options in variants.items():
        r = results[name] = trained("glf", AUTOENCODER, "glf", a.steps, options)
        ends = f"{r['nll'][-1]:>11.2f}{roughness(r['nll']):>11.2f}{r['code_scale'][-1]:>12.4f}{r['recon'][-1]:>9.1f}"
        print(f"{name:26}{ends}{r['failure'] or format(r['fid'], '9.2f')}", flush=True)
    draw(results, PANELS, a.out)


if __name__ == "__main__":
    main()
