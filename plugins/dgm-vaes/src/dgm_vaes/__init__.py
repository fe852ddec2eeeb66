"""Variational auto-encoders."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


def _architecture(name: str, where: str, summary: str, paper: str) -> dict[str, str]:
    return {"name": name, "family": "vaes", "import": f"dgm_vaes.{where}", "summary": summary, "paper": paper}


@hookimpl
def dgm_architectures():
    kingma = "https://arxiv.org/abs/1312.6114"
    return [
        _architecture("mlp-vae", "mlp:MLPVAE", "VAE of dense layers, for vectors", kingma),
        _architecture("conv-vae", "conv:ConvVAE", "Convolutional VAE for small images", kingma),
        _architecture(
            "conv-autoencoder",
            "conv:ConvAutoencoder",
            "Deterministic convolutional auto-encoder for small images",
            "https://arxiv.org/abs/1905.10485",
        ),
        _architecture("rh-vae", "rh:RHVAE", "VAE of Ruthotto & Haber on MNIST", "https://arxiv.org/abs/2103.05180"),
        _architecture(
            "nvae",
            "nvae:NVAE",
            "NVAE: groups of latents over scales, residual cells, residual normal posteriors",
            "https://arxiv.org/abs/2007.03898",
        ),
    ]


@hookimpl
def dgm_converters():
    return [
        {
            "format": "rh-vae",
            "import": "dgm_vaes.convert:rh_vae",
            "summary": "VAE on MNIST published by Ruthotto & Haber",
            "license": "MIT",
        },
        {
            "format": "nvae",
            "import": "dgm_vaes.convert:nvae",
            "summary": "NVAE, as published by its authors and by those of VAEBM",
            "license": "NVIDIA Source Code License (non-commercial)",
        },
    ]
