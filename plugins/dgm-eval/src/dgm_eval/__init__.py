"""Evaluation: metrics, the networks whose features they compare, `dgm eval` and `dgmcore.evaluate`."""

from __future__ import annotations

from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

_METRICS = [
    ("fid", "fid:fid", "Fréchet distance of features"),
    ("kid", "kernel_distance:kid", "Kernel distance of features, unbiased"),
    ("precision", "precision_recall:precision", "Samples in the data's manifold"),
    ("recall", "precision_recall:recall", "Data in the samples' manifold"),
    ("inception-score", "inception_score:inception_score", "Clear and varied classes"),
    ("density", "two_samples.neighbours:density", "Samples in balls around data"),
    ("coverage", "two_samples.neighbours:coverage", "Data with a sample near"),
    ("c2st", "two_samples.neighbours:c2st", "A classifier tells samples from data"),
    ("memorisation", "two_samples.neighbours:memorisation", "Nearer to training than to held-out data"),
    ("prd-precision", "two_samples.curve:prd_precision", "Precision of distributions"),
    ("prd-recall", "two_samples.curve:prd_recall", "Recall of distributions"),
    ("mmd", "two_samples.kernels:mmd_metric", "Squared MMD, Gaussian kernel"),
    ("sliced-wasserstein", "two_samples.kernels:sliced_wasserstein_metric", "Sliced 2-Wasserstein distance"),
    ("fid-infinity", "two_samples.extrapolated:fid_infinity", "FID of infinitely many samples"),
    ("fid-per-class", "two_samples.extrapolated:fid_per_class", "FID of each class"),
    ("energy-distance", "energy_distance:energy_metric", "Of the data themselves"),
    ("modes", "modes:modes", "Modes reached"),
    ("within-3-sigma", "modes:within", "Samples near a mode"),
    ("mode-kl", "modes:mode_kl", "Modes against the uniform distribution"),
    ("nll", "likelihood:nll", "Negative log-likelihood in nats"),
    ("bits-per-dim", "likelihood:bits_per_dim", "For the data's levels"),
    ("reconstruction", "reconstruction:reconstruction", "Mean squared error"),
    ("ood-auroc", "ood_auroc:ood_auroc", "Own data told from others"),
    ("accuracy", "accuracy:accuracy", "Of a classifier"),
]


@hookimpl
def dgm_architectures() -> list[dict[str, Any]]:
    return [
        {
            "name": "classifier",
            "family": "core",
            "import": "dgm_eval.models.classifier:Classifier",
            "summary": "Convolutional classifier: features for metrics",
            "paper": "https://doi.org/10.1109/5.726791",
        },
        {
            "name": "image-features",
            "family": "core",
            "import": "dgm_eval.models.selfsupervised:ImageFeatures",
            "summary": "Self-supervised features of images: corruptions and contrast",
            "paper": "https://arxiv.org/abs/2002.05709",
        },
        {
            "name": "reference-statistics",
            "family": "core",
            "import": "dgm_eval.sources.statistics:ReferenceStatistics",
            "summary": "Features of real data, to compare samples with",
            "paper": "https://arxiv.org/abs/1706.08500",
        },
    ]


@hookimpl
def dgm_metrics() -> list[dict[str, Any]]:
    places = {name: place if place.startswith("two_samples") else f"metrics.{place}" for name, place, _ in _METRICS}
    return [{"name": name, "import": f"dgm_eval.{places[name]}", "summary": summary} for name, _, summary in _METRICS]


@hookimpl
def dgm_features() -> list[dict[str, Any]]:
    return [
        {"dataset": "mnist", "entry": "lenet-mnist"},
        {"dataset": "stacked-mnist", "entry": "lenet-mnist"},
        {"dataset": "fashion", "entry": "lenet-fashion"},
        {"dataset": "celeba64", "entry": "facefeat-celeba"},
    ]


@hookimpl
def dgm_commands() -> list[dict[str, Any]]:
    summary = "Measure a model: FID, KID, bits/dim, mode coverage, ..."
    made = "Make reference statistics of data, for dgm eval --against stats:NAME."
    return [
        {"name": "eval", "import": "dgm_eval.command:app", "help": summary},
        {"name": "stats", "import": "dgm_eval.sources.make_statistics:app", "help": made},
    ]


@hookimpl
def dgm_calls() -> list[dict[str, Any]]:
    return [
        {"name": "evaluate", "import": "dgm_eval.evaluate:evaluate", "summary": "Measure a model"},
        {"name": "compare", "import": "dgm_eval.comparing:compare", "summary": "The ratio of two records"},
        {"name": "differences", "import": "dgm_eval.comparing:differences", "summary": "Where protocols differ"},
        {"name": "extractor", "import": "dgm_eval.extractor:Extractor", "summary": "Features of another model's data"},
    ]
