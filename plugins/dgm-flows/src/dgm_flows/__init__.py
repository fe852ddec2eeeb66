"""Normalizing flows."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

_ARCHITECTURES = [
    ("realnvp", "realnvp:RealNVP", "Affine couplings of vectors, as Ruthotto and Haber publish them", "2103.05180"),
    ("glow", "glow:Glow", "Actnorm, invertible 1x1 convolutions and affine couplings of images", "1807.03039"),
]


@hookimpl
def dgm_architectures():
    return [
        {
            "name": name,
            "family": "flows",
            "import": f"dgm_flows.{path}",
            "summary": summary,
            "paper": f"https://arxiv.org/abs/{paper}",
        }
        for name, path, summary, paper in _ARCHITECTURES
    ]
