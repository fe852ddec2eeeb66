"""Diffusion and score models."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures():
    return [
        {
            "name": "ddpm",
            "family": "diffusion",
            "import": "dgm_diffusion.ddpm:DDPM",
            "summary": "Denoising diffusion in discrete time; DDPM, DDIM and DPM-Solver++ samplers; diffusers' U-Net",
            "paper": "https://arxiv.org/abs/2006.11239",
        },
        {
            "name": "ddpm-flow",
            "family": "diffusion",
            "import": "dgm_diffusion.ddpmflow:ProbabilityFlow",
            "summary": "The probability flow of a ddpm: pushforward, encoder, density",
            "paper": "https://arxiv.org/abs/2011.13456",
        },
        {
            "name": "score-sde",
            "family": "diffusion",
            "import": "dgm_diffusion.scoresde:ScoreSDE",
            "summary": "Variance-preserving SDE; Euler-Maruyama, predictor-corrector and probability-flow ODE",
            "paper": "https://arxiv.org/abs/2011.13456",
        },
        {
            "name": "ve-sde",
            "family": "diffusion",
            "import": "dgm_diffusion.vesde:VESDE",
            "summary": "Variance-exploding SDE (NCSN): annealed Langevin, predictor-corrector, probability flow",
            "paper": "https://arxiv.org/abs/1907.05600",
        },
        {
            "name": "schroedinger",
            "family": "diffusion",
            "import": "dgm_diffusion.schroedinger.models:GaussianBridge",
            "summary": "Diffusion Schroedinger bridge from data to Gaussian noise and back, and its flow's density",
            "paper": "https://arxiv.org/abs/2106.01357",
        },
        {
            "name": "schroedinger-bridge",
            "family": "diffusion",
            "import": "dgm_diffusion.schroedinger.models:DataBridge",
            "summary": "Diffusion Schroedinger bridge between two data sets",
            "paper": "https://arxiv.org/abs/2106.01357",
        },
        {
            "name": "flowmatching",
            "family": "diffusion",
            "import": "dgm_diffusion.flowmatching.model:FlowMatching",
            "summary": "Flow matching, independent or optimal-transport couplings, classes with guidance",
            "paper": "https://arxiv.org/abs/2210.02747",
        },
        {
            "name": "flow-student",
            "family": "diffusion",
            "import": "dgm_diffusion.flowmatching.student:FlowStudent",
            "summary": "A student of flow matching: one step, or two",
            "paper": "https://arxiv.org/abs/2209.03003",
        },
    ]


@hookimpl
def dgm_metrics():
    return [
        {
            "name": "label-agreement",
            "import": "dgm_diffusion.metrics:label_agreement",
            "summary": "Samples of the class asked for",
        }
    ]


@hookimpl
def dgm_converters():
    return [
        {
            "format": "diffusers-unet",
            "import": "dgm_diffusion.convert:diffusers_unet",
            "summary": "A UNet2DModel and its scheduler as diffusers saves them: a folder, or its files",
            "license": "that of the repository",
        }
    ]
