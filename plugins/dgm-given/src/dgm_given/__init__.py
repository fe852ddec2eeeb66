"""Models under observations: operators, critics, samplers of the noise space with their diagnostics."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

__all__ = ["Given", "Label", "Observation", "given"]

_HOMES = {"Given": "model", "Label": "observation", "Observation": "observation", "given": "model"}

_OPERATORS = [
    ("downsample", "Means of squares of pixels: downsample:4"),
    ("blur", "A Gaussian blur: blur:1.5"),
    ("grey", "Colours as grey values"),
    ("crop", "A part of the image: crop:X,Y,WIDTH,HEIGHT"),
    ("linear", "A matrix in a file: linear:A.npy"),
]


_SAMPLERS = [
    ("langevin", "Langevin steps, all of which are taken"),
    ("metropolis", "Metropolis steps of one size"),
    ("mala", "Langevin steps that are kept or refused"),
    ("hmc", "Hamiltonian Monte Carlo"),
    ("pcn", "Metropolis steps with a size that is adapted"),
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)


@hookimpl
def dgm_architectures():
    return [
        {
            "name": "given",
            "family": "given",
            "import": "dgm_given.model:Given",
            "summary": "A model under observations and critics",
            "paper": "https://arxiv.org/abs/1703.03208",
        },
        {
            "name": "given-density",
            "family": "given",
            "import": "dgm_given.model:GivenDensity",
            "summary": "The same for a base with a density",
            "paper": "https://arxiv.org/abs/1703.03208",
        },
    ]


@hookimpl
def dgm_samplers():
    return [{"name": name, "import": f"dgm_given.tilted:{name}", "summary": says} for name, says in _SAMPLERS]


@hookimpl
def dgm_metrics():
    return [{"name": "r-hat", "import": "dgm_given.metrics:mixing", "summary": "Whether a sampler's chains have mixed"}]


@hookimpl
def dgm_operators():
    return [{"name": name, "import": f"dgm_given.operators:{name}", "summary": says} for name, says in _OPERATORS]


@hookimpl
def dgm_calls():
    return [
        {"name": "given", "import": "dgm_given.model:given", "summary": "A model under observations"},
        {"name": "asked", "import": "dgm_given.asking:asked", "summary": "What options of a command ask for"},
        {"name": "metropolis", "import": "dgm_given.chains.metropolis:metropolis", "summary": "Metropolis steps"},
        {"name": "invert", "import": "dgm_given.optimum:invert", "summary": "Data as noise, by optimisation"},
    ]
