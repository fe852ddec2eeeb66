"""Energy-based models."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1

THESIS = "Xiao, doctoral thesis, 2022"
VAEBM = "https://arxiv.org/abs/2010.00654"


@hookimpl
def dgm_architectures():
    def architecture(name, where, summary, paper):
        return {"name": name, "family": "ebms", "import": f"dgm_ebms.{where}", "summary": summary, "paper": paper}

    return [
        architecture("ebm", "ebm:EBM", "An energy sampled by Langevin dynamics on data", f"{THESIS}, section 2.3"),
        architecture(
            "started-ebm",
            "ebm:StartedEBM",
            "An energy whose chains start at another generator's draws",
            f"{THESIS}, Table 4.6",
        ),
        architecture(
            "odeflow", "odeflow:ODEFlow", "Descent of an energy as a flow with a density", f"{THESIS}, chapter 5"
        ),
        architecture("rbm", "rbm:RBM", "Restricted Boltzmann machine of binary images", f"{THESIS}, section 2.3.1"),
        architecture(
            "stacked-rbm",
            "stacked:StackedRBM",
            "Deep belief network: Boltzmann machines, each on the hidden units of the one below",
            f"{THESIS}, section 2.3.1",
        ),
        architecture("mlp-energy", "networks:MLPEnergy", "Energy network: perceptron with swish", f"{THESIS}, 4.4.1"),
        architecture("conv-energy", "networks:ConvEnergy", "Energy network: convolutions", f"{THESIS}, Table 5.2"),
        architecture("resnet-energy", "networks:ResNetEnergy", "Energy network of VAEBM: residual", VAEBM),
    ]


@hookimpl
def dgm_metrics():
    return [
        {
            "name": "log-normaliser",
            "import": "dgm_ebms.metrics:log_normaliser",
            "summary": "Log Z of a Boltzmann machine by annealed importance sampling",
        }
    ]


@hookimpl
def dgm_converters():
    return [
        {
            "format": "vaebm-energy",
            "import": "dgm_ebms.convert:vaebm_energy",
            "summary": "Energy networks published by the authors of VAEBM",
            "license": "NVIDIA Source Code License (non-commercial)",
        }
    ]
