"""Generative adversarial networks: generators that hold their discriminators."""

from __future__ import annotations

from dgmcore.hookspecs import hookimpl

PLUGIN_API = 1


@hookimpl
def dgm_architectures():
    return [
        {
            "name": "rh-gan",
            "family": "gans",
            "import": "dgm_gans.models:RHGAN",
            "summary": "Generator and discriminator of Ruthotto & Haber, q = 2, MNIST",
            "paper": "https://arxiv.org/abs/2103.05180",
        },
        {
            "name": "dcgan",
            "family": "gans",
            "import": "dgm_gans.models:DCGAN",
            "summary": "Convolutional GAN for 28, 32 and 64 pixels; optional spectral norm and minibatch deviation",
            "paper": "https://arxiv.org/abs/1511.06434",
        },
        {
            "name": "stylegan",
            "family": "gans",
            "import": "dgm_gans.models:StyleGAN",
            "summary": "Style generator and residual critic after StyleGAN2: mapping, modulation, noise, truncation",
            "paper": "https://arxiv.org/abs/1912.04958",
        },
        {
            "name": "mlp-gan",
            "family": "gans",
            "import": "dgm_gans.models:MLPGAN",
            "summary": "GAN of multi-layer perceptrons, for points",
            "paper": "https://arxiv.org/abs/1406.2661",
        },
    ]


@hookimpl
def dgm_converters():
    return [
        {
            "format": "rh-gan",
            "import": "dgm_gans.convert:rh_gan",
            "summary": "Ruthotto & Haber's DCGAN and WGAN: generator and discriminator file together",
            "license": "MIT",
        }
    ]
