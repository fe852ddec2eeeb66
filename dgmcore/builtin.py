"""The plugin `core`: what the core itself provides, through the same hooks as any plugin."""

from __future__ import annotations

from typing import Any

from .folders import bundled_registry
from .hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures() -> list[dict[str, Any]]:
    return [
        {
            "name": "tilted",
            "family": "compositions",
            "import": "dgmcore.compose:Tilted",
            "summary": "Any generator tilted by any critic, sampled by Langevin dynamics on its noise",
            "paper": "https://arxiv.org/abs/2010.00654",
        },
        {
            "name": "classifier",
            "family": "core",
            "import": "dgmcore.evaluation.classifier:Classifier",
            "summary": "Convolutional classifier: features for metrics",
            "paper": "https://doi.org/10.1109/5.726791",
        },
        {
            "name": "image-features",
            "family": "core",
            "import": "dgmcore.evaluation.selfsupervised:ImageFeatures",
            "summary": "Self-supervised features of images: corruptions and contrast",
            "paper": "https://arxiv.org/abs/2002.05709",
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


@hookimpl
def dgm_metrics() -> list[dict[str, Any]]:
    here = "dgmcore.evaluation"
    return [
        {"name": "fid", "import": f"{here}.metrics:fid", "summary": "Fréchet distance of features"},
        {"name": "kid", "import": f"{here}.metrics:kid", "summary": "Kernel distance of features, unbiased"},
        {"name": "precision", "import": f"{here}.metrics:precision", "summary": "Samples in the data's manifold"},
        {"name": "recall", "import": f"{here}.metrics:recall", "summary": "Data in the samples' manifold"},
        {"name": "inception-score", "import": f"{here}.metrics:inception_score", "summary": "Clear and varied classes"},
        {"name": "energy-distance", "import": f"{here}.metrics:energy_distance", "summary": "Of the data themselves"},
        {"name": "modes", "import": f"{here}.modes:modes", "summary": "Modes reached"},
        {"name": "within-3-sigma", "import": f"{here}.modes:within", "summary": "Samples near a mode"},
        {"name": "mode-kl", "import": f"{here}.modes:mode_kl", "summary": "Modes against the uniform distribution"},
        {"name": "nll", "import": f"{here}.likelihood:nll", "summary": "Negative log-likelihood in nats"},
        {"name": "bits-per-dim", "import": f"{here}.likelihood:bits_per_dim", "summary": "For the data's levels"},
        {"name": "reconstruction", "import": f"{here}.likelihood:reconstruction", "summary": "Mean squared error"},
        {"name": "ood-auroc", "import": f"{here}.likelihood:ood_auroc", "summary": "Own data told from others"},
        {"name": "accuracy", "import": f"{here}.metrics:accuracy", "summary": "Of a classifier"},
    ]


@hookimpl
def dgm_features() -> list[dict[str, Any]]:
    return [
        {"dataset": "mnist", "entry": "lenet-mnist"},
        {"dataset": "stacked-mnist", "entry": "lenet-mnist"},
        {"dataset": "fashion", "entry": "lenet-fashion"},
        {"dataset": "celeba64", "entry": "facefeat-celeba"},
    ]


@hookimpl
def dgm_converters() -> list[dict[str, Any]]:
    return []
