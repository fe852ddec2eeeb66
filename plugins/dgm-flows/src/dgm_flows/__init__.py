"""Normalizing flows."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

_ARCHITECTURES = [
    ("realnvp", "realnvp:RealNVP", "Affine couplings of vectors, as Ruthotto and Haber publish them", "2103.05180"),
    ("otflow", "otflow:OTFlow", "A continuous flow along a potential's gradient, with its exact trace", "2006.00104"),
    ("ffjord", "ffjord:FFJORD", "A continuous flow along a free vector field, with Hutchinson's trace", "1810.01367"),
    ("glow", "glow:Glow", "Actnorm, invertible 1x1 convolutions and affine couplings of images", "1807.03039"),
    ("coupling", "coupling:CouplingFlow", "Invertible linear maps and affine couplings of vectors", "1807.03039"),
    ("planar", "planar:Planar", "Planar layers, for posteriors", "1505.05770"),
    ("radial", "planar:Radial", "Radial layers, for posteriors", "1505.05770"),
    ("maf", "zuko_flows:MAF", "Masked autoregressive flow", "1705.07057"),
    ("iaf", "zuko_flows:IAF", "Inverse autoregressive flow", "1606.04934"),
    ("nsf", "zuko_flows:NSF", "Neural spline flow", "1906.04032"),
    ("nice", "zuko_flows:NICE", "Additive couplings and a diagonal scaling", "1410.8516"),
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


@hookimpl
def dgm_converters():
    return [
        {
            "format": name,
            "import": f"dgm_flows.convert:{name.replace('-', '_')}",
            "summary": summary,
            "license": "MIT",
        }
        for name, summary in (
            ("rh-realnvp", "Real NVP as Ruthotto and Haber publish it"),
            ("rh-otflow", "OT-Flow as Ruthotto and Haber publish it"),
            ("otflow", "Checkpoints of the OT-Flow repository, with the arguments of their run"),
        )
    ]
