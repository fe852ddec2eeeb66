"""Autoregressive models of discrete data: MADE, PixelCNN, recurrent networks; and quantum measurements to model."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

_ARCHITECTURES = [
    ("made", "made:MADE", "Masked auto-encoder of binary images, in several orders", "1502.03509"),
    ("pixelcnn", "pixelcnn:PixelCNN", "Gated convolutions of images or sequences that look back only", "1606.05328"),
    ("rnn", "rnn:RNN", "Recurrent network over sequences of symbols", "1810.10584"),
]

_METRICS = [
    ("classical-fidelity", "classical_fidelity", "Fidelity to the exact probabilities of measurements"),
    ("kl-exact", "kl_exact", "KL divergence from the exact probabilities of measurements"),
    ("observables", "observables", "Energy, magnetisations and correlations that measurements give"),
]


@hookimpl
def dgm_architectures():
    return [
        {
            "name": name,
            "family": "autoregressive",
            "import": f"dgm_autoregressive.{path}",
            "summary": summary,
            "paper": f"https://arxiv.org/abs/{paper}",
        }
        for name, path, summary, paper in _ARCHITECTURES
    ]


@hookimpl
def dgm_datasets():
    return [
        {
            "name": "mnist-binary",
            "import": "dgm_autoregressive.binary:mnist_binary",
            "summary": "MNIST, each pixel drawn once as black or white with its grey value as probability",
        },
        {
            "name": "tfim",
            "import": "dgm_autoregressive.quantum.tfim:tfim",
            "summary": "Measurements of the ground state of a transverse-field Ising chain",
        },
    ]


@hookimpl
def dgm_metrics():
    return [
        {"name": name, "import": f"dgm_autoregressive.quantum.metrics:{function}", "summary": summary}
        for name, function, summary in _METRICS
    ]
