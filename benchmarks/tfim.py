"""What a model's samples say of a chain of spins, drawn beside what is exactly so (as Albergo and Carrasquilla et al.).

    python benchmarks/tfim.py [MODEL ...]

Draws measurements from models of `tfim` data, reconstructs energy, magnetisation and correlations from them by the
dual frame of the measure, and prints and draws them with their standard errors. Without names: the registry's models.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from dgm_autoregressive.quantum.observables import Estimate, exact, reconstructed
from dgm_autoregressive.quantum.tfim import TFIM

import dgmcore
from dgmcore.data import open_for

#: A model's name, its data, and what its samples give.
Row = tuple[str, TFIM, dict[str, Estimate]]
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


def draw(rows: list[Row], out: Path) -> None:
    """Draws energy and magnetisation against the field, and correlations against the distance; lines are exact."""

    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (*panels, correlations) = plt.subplots(1, 3, figsize=(13, 3.8), layout="constrained")
    families = list(dict.fromkeys(name.split("-")[0] for name, _, _ in rows))
    styles = {name: styled(families.index(name.split("-")[0])) for name, _, _ in rows}
    for panel, key, label in zip(panels, ("energy", "magnetisation-x"), ("energy / J", "mean of σx"), strict=True):
        draw_fields(panel, key, rows, styles)
        panel.set(xlabel="h / J", ylabel=label)
    draw_distances(correlations, rows, styles)
    correlations.set(xlabel="distance r", ylabel="mean of σz(i) σz(i + r)")
    for panel in (*panels, correlations):
        panel.legend(frameon=False, fontsize=8)
    figure.savefig(out, dpi=110)


def styled(family: int) -> dict[str, Any]:
    """How the points of a family of models look."""

    return {"fmt": "os^D"[family % 4], "ms": 5, "capsize": 2, "lw": 1, "mfc": "none" if family else None}


def draw_fields(panel: Any, key: str, rows: list[Row], styles: dict[str, dict[str, Any]]) -> None:
    import numpy as np
    from dgm_autoregressive.quantum.tfim import tfim

    fields = np.linspace(0.25, max(2.5, *(1.2 * data.h for _, data, _ in rows)), 30)
    curve = [exact(tfim("test", n=rows[0][1].sites, h=float(h)))[key] for h in fields]
    panel.plot(fields, curve, color="0.3", lw=1, label="exact")
    seen: set[str] = set()
    for name, data, found in rows:
        family = name.split("-")[0]
        label = None if family in seen else family
        panel.errorbar(data.h + 0.02 * len(seen - {family}), *found[key], color="C0", label=label, **styles[name])
        seen.add(family)


def draw_distances(panel: Any, rows: list[Row], styles: dict[str, dict[str, Any]]) -> None:
    import numpy as np

    colours = {h: f"C{i}" for i, h in enumerate(sorted({data.h for _, data, _ in rows}))}
    for name, data, found in rows:
        distances = np.arange(1, data.sites)
        values, errors = zip(*(found[f"correlation-zz-{r}"] for r in distances), strict=True)
        panel.errorbar(distances, values, errors, color=colours[data.h], **styles[name])
    for h, data in {data.h: data for _, data, _ in rows}.items():
        distances, right = np.arange(1, data.sites), exact(data)
        line = [right[f"correlation-zz-{r}"] for r in distances]
        panel.plot(distances, line, color=colours[h], lw=1, label=f"exact, h/J = {h:g}")


if __name__ == "__main__":
    main()
