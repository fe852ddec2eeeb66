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
        }
    ]
