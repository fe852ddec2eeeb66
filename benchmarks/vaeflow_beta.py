r"""VAEs with a flow prior draw better as beta grows, and near GLF, as in thesis Fig. 3.6.

    python benchmarks/vaeflow_beta.py

Trains them on Fashion-MNIST with several beta, and GLF beside them, from the same recipe. The decoder's deviation is 2
on [-1, 1], which is 1 on the thesis's [0, 1], so that beta is the thesis's.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from latent_flows import AUTOENCODER, VAE, draw, trained

PANELS = {
    "nll": ("flow's loss, nats", False),
    "posterior_std": ("deviation of the posterior", True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, default=250)
    parser.add_argument("--betas", type=float, nargs="*", default=[1.0, 10.0, 100.0, 400.0])
    parser.add_argument("--out", type=Path, default=Path(__file__).parent.parent / "docs/families/vaeflow-beta.png")
    a = parser.parse_args()
    results = {}
    print(f"{'':16}{'FID':>8}{'posterior std':>15}{'flow loss':>11}")
    for beta in a.betas:
        r = results[f"beta {beta:g}"] = trained("vaeflow", VAE, "elbo", a.steps, {"beta": beta})
        print(f"{f'beta {beta:g}':16}{r['fid']:>8.2f}{r['posterior_std'][-1]:>15.4f}{r['nll'][-1]:>11.2f}", flush=True)
    r = results["GLF"] = trained("glf", AUTOENCODER, "glf", a.steps, {})
    print(f"{'GLF':16}{r['fid']:>8.2f}{'-':>15}{r['nll'][-1]:>11.2f}", flush=True)
    draw(results, PANELS, a.out)


if __name__ == "__main__":
    main()
