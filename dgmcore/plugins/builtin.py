"""The plugin `core`: what the core itself provides, through the same hooks as any plugin."""

from __future__ import annotations

from typing import Any

from ..files.folders import bundled_registry
from ..hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures() -> list[dict[str, Any]]:
    return [
        {
            "name": "tilted",
            "family": "compositions",
            "import": "dgmcore.compose.tilted:Tilted",
            "summary": "Any generator tilted by any critic, sampled by Langevin dynamics on its noise",
            "paper": "https://arxiv.org/abs/2010.00654",
        },
    ]


@hookimpl
def dgm_registries() -> list[str]:
    folder = bundled_registry()
    return [str(folder)] if folder.is_dir() else []


@hookimpl
def dgm_datasets() -> list[dict[str, Any]]:
    return [
        {"name": name, "import": f"dgmcore.data.{place}", "summary": summary}
        for name, place, summary in [
            ("moons", "toys:moons", "Two interleaved half circles in the plane"),
            ("swissroll", "toys:swissroll", "A spiral in the plane"),
            ("9gaussians", "toys:gaussians9", "A 3 x 3 grid of Gaussians"),
            ("25gaussians", "toys:gaussians25", "A 5 x 5 grid of narrow Gaussians"),
            ("mnist", "named:mnist", "Handwritten digits, 28 x 28"),
            ("fashion", "named:fashion", "Fashion-MNIST: garments, 28 x 28"),
            ("stacked-mnist", "named:stacked_mnist", "Three digits as the channels of one image, 1000 modes"),
            ("cifar10", "named:cifar10", "CIFAR-10: small photographs, 32 x 32"),
            ("celeba64", "named:celeba64", "CelebA: faces, aligned and cropped, 64 x 64"),
        ]
    ]
