"""Variational auto-encoders."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures():
    return [
        {
            "name": "nvae",
            "family": "vaes",
            "import": "dgm_vaes.nvae:NVAE",
            "summary": "NVAE: groups of latents over scales, residual cells, residual normal posteriors",
            "paper": "https://arxiv.org/abs/2007.03898",
        },
        {
            "name": "mlp-vae",
            "family": "vaes",
            "import": "dgm_vaes.mlp:MLPVAE",
            "summary": "VAE of dense layers, for vectors",
            "paper": "https://arxiv.org/abs/1312.6114",
        },
    ]
