"""What a model's samples say of a chain of spins, drawn beside what is exactly so (as Albergo and Carrasquilla et al.).

    python benchmarks/tfim.py [MODEL ...]

Draws measurements from models of `tfim` data, reconstructs energy, magnetisation and correlations from them by the
dual frame of the measure, and prints and draws them with their standard errors. Without names: the models of the registry.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dgm_autoregressive.quantum.observables import Estimate, exact, reconstructed
from dgm_autoregressive.quantum.tfim import TFIM

import dgmcore
from dgmcore.data import open_for

OUT = Path(__file__).parent.parent / "docs/families/tfim.png"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", metavar="MODEL")
    parser.add_argument("-n", type=int, default=100_000, help="measurements of each model")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=OUT)
    a = parser.parse_args()
    names = a.models or sorted(m["name"] for m in dgmcore.list_models(dataset="tfim") if m["available"])
    rows = []
    for name in names:
        model = dgmcore.load(name)
        data: Any = open_for(model, "tfim:test").base
        found = reconstructed(data, dgmcore.sample(model, a.n, seed=a.seed).round().int().numpy())
        rows.append((model.entry.name, data, found))
        show(*rows[-1])
    draw(rows, a.out)
    print(a.out)


def show(name: str, data: TFIM, found: dict[str, Estimate]) -> None:
    print(f"{name}: {data.sites} spins, h/J = {data.h:g}, {data.povm.name}")
    right = exact(data)
    for key, (value, error) in found.items():
        away = abs(value - right[key]) / error
        print(f"  {key:18}{value:10.4f} ± {error:.4f}   exact {right[key]:9.4f}   {away:.1f} standard errors away")


def draw(rows: list[tuple[str, TFIM, dict[str, Estimate]]], out: Path) -> None:
    """Draws three panels against the field and the distance: lines are exact, points are of samples."""

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import numpy as np
    from dgm_autoregressive.quantum.tfim import tfim

    figure, (left, middle, right) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    sites = rows[0][1].sites
    fields = np.linspace(0.25, max(2.5, *(1.2 * data.h for _, data, _ in rows)), 30)
    curves = [exact(tfim("test", n=sites, h=float(h))) for h in fields]
    for panel, key, label in ((left, "energy", "energy / J"), (middle, "magnetisation-x", r"$\langle\sigma^x\rangle$")):
        panel.plot(fields, [c[key] for c in curves], color="0.3", lw=1, label="exact")
        panel.set(xlabel="h / J", ylabel=label)
    families = list(dict.fromkeys(name.split("-")[0] for name, _, _ in rows))
    colours = {h: f"C{i}" for i, h in enumerate(sorted({data.h for _, data, _ in rows}))}
    for name, data, found in rows:
        family = families.index(name.split("-")[0])
        style = {"fmt": "os^D"[family % 4], "ms": 5 - family, "capsize": 2, "lw": 1, "mfc": "none" if family else None}
        shift = 0.02 * family
        first = data.h == min(colours)
        for panel, key in ((left, "energy"), (middle, "magnetisation-x")):
            label = families[family] if first else None
            panel.errorbar(data.h + shift, *found[key], color=colours[data.h], label=label, **style)
        distances = np.arange(1, data.sites)
        values = [found[f"correlation-zz-{r}"] for r in distances]
        right.errorbar(
            distances + 3 * shift, [v.value for v in values], [v.error for v in values], color=colours[data.h], **style
        )
        if family == 0:
            exactly = exact(data)
            line = [exactly[f"correlation-zz-{r}"] for r in distances]
            right.plot(distances, line, color=colours[data.h], lw=1, label=f"exact, h/J = {data.h:g}")
    right.set(xlabel="distance r", ylabel=r"$\langle\sigma^z_i \sigma^z_{i+r}\rangle$")
    for panel in (left, middle, right):
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(out, dpi=110)


if __name__ == "__main__":
    main()
