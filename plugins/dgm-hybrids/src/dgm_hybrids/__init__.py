"""Hybrids: VAEBM, GLF, denoising diffusion GAN."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures():
    return [
        {
            "name": "vaebm",
            "family": "hybrids",
            "import": "dgm_hybrids.vaebm:VAEBM",
            "summary": "A VAE tilted by an energy network",
            "paper": "https://arxiv.org/abs/2010.00654",
        },
        {
            "name": "glf",
            "family": "hybrids",
            "import": "dgm_hybrids.glf:GLF",
            "summary": "A deterministic auto-encoder and a flow of its codes",
            "paper": "https://arxiv.org/abs/1905.10485",
        },
        {
            "name": "vaeflow",
            "family": "hybrids",
            "import": "dgm_hybrids.glf:VAEFlow",
            "summary": "A VAE whose prior is a flow",
            "paper": "https://arxiv.org/abs/1905.10485",
        },
        {
            "name": "rae",
            "family": "hybrids",
            "import": "dgm_hybrids.codes:RAE",
            "summary": "A regularised auto-encoder and a mixture of normals of its codes",
            "paper": "https://arxiv.org/abs/1903.12436",
        },
        {
            "name": "wae",
            "family": "hybrids",
            "import": "dgm_hybrids.codes:WAE",
            "summary": "A Wasserstein auto-encoder: its codes are made normal by a GAN or by MMD",
            "paper": "https://arxiv.org/abs/1711.01558",
        },
        {
            "name": "twostage",
            "family": "hybrids",
            "import": "dgm_hybrids.codes:TwoStageVAE",
            "summary": "A VAE and a second VAE of its codes",
            "paper": "https://arxiv.org/abs/1903.05789",
        },
        {
            "name": "ddgan",
            "family": "hybrids",
            "import": "dgm_hybrids.ddgan.model:DDGAN",
            "summary": "A diffusion whose few steps are draws of a conditional GAN",
            "paper": "https://arxiv.org/abs/2112.07804",
        },
    ]


@hookimpl
def dgm_converters():
    return [
        {
            "format": "ddgan",
            "import": "dgm_hybrids.ddgan.convert:ddgan",
            "summary": "Denoising diffusion GAN: the authors' generator, and their discriminator if given",
            "license": "NVIDIA Source Code License, non-commercial",
        },
        {
            "format": "vaebm",
            "import": "dgm_hybrids.convert:vaebm",
            "summary": "VAEBM: the authors' NVAE and energy network together",
            "license": "NVIDIA Source Code License, non-commercial",
        },
    ]
