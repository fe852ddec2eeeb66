"""Evaluation: metrics, the networks whose features they compare, `dgm eval` and `dgmcore.evaluate`."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

_METRICS = [
    ("fid", "features:fid", "Fréchet distance of features"),
    ("kid", "features:kid", "Kernel distance of features, unbiased"),
    ("precision", "features:precision", "Samples in the data's manifold"),
    ("recall", "features:recall", "Data in the samples' manifold"),
    ("inception-score", "features:inception_score", "Clear and varied classes"),
    ("energy-distance", "features:energy_distance", "Of the data themselves"),
    ("modes", "modes:modes", "Modes reached"),
    ("within-3-sigma", "modes:within", "Samples near a mode"),
    ("mode-kl", "modes:mode_kl", "Modes against the uniform distribution"),
    ("nll", "likelihood:nll", "Negative log-likelihood in nats"),
    ("bits-per-dim", "likelihood:bits_per_dim", "For the data's levels"),
    ("reconstruction", "likelihood:reconstruction", "Mean squared error"),
    ("ood-auroc", "likelihood:ood_auroc", "Own data told from others"),
    ("accuracy", "features:accuracy", "Of a classifier"),
]


@hookimpl
def dgm_architectures():
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
    ]


@hookimpl
def dgm_metrics():
    return [
        {"name": name, "import": f"dgm_eval.metrics.{place}", "summary": summary} for name, place, summary in _METRICS
    ]


@hookimpl
def dgm_features():
    return [
        {"dataset": "mnist", "entry": "lenet-mnist"},
        {"dataset": "stacked-mnist", "entry": "lenet-mnist"},
        {"dataset": "fashion", "entry": "lenet-fashion"},
        {"dataset": "celeba64", "entry": "facefeat-celeba"},
    ]


@hookimpl
def dgm_commands():
    summary = "Measure a model: FID, KID, bits/dim, mode coverage, ..."
    return [{"name": "eval", "import": "dgm_eval.command:app", "help": summary}]


@hookimpl
def dgm_calls():
    return [{"name": "evaluate", "import": "dgm_eval.evaluate:evaluate", "summary": "Measure a model"}]
