"""VAEs against straightforward PyTorch: a training step on MNIST, NVAE's forward pass and its samples."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import contextmanager

from timing import compared


def run() -> list[dict]:
    """Measures; see `run.py` for what a row is."""

    return [
        mnist_step(),
        *nvae("small", 8, SMALL, 15),
        *nvae("CelebA 64, 65 M weights", 4, {"channels": 48, "flows": 1}, 3),
    ]


SMALL = {
    "event_shape": [3, 32, 32],
    "channels": 8,
    "latents": 4,
    "groups": 2,
    "scales": 2,
    "encoder_cells": 1,
    "decoder_cells": 1,
}


# --- the VAE of Ruthotto & Haber ------------------------------------------------------------------


def mnist_step() -> dict:
    import torch
    from dgm_vaes.rh import RHVAE
    from dgm_vaes.training import ELBO

    from dgmcore.sampling.stream_noise import StreamNoise

    x = torch.rand(64, 1, 28, 28)
    torch.manual_seed(0)
    model = RHVAE().train().to(memory_format=torch.channels_last)
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-5, fused=True)
    phase = ELBO(model, ELBO.Options())

    def ours() -> None:
        recon, kl = phase.terms(x, StreamNoise(0, len(x)))
        optimizer.zero_grad()
        (kl - recon).mean().backward()
        optimizer.step()

    return compared(
        "VAE on MNIST, training step, batch 64", ours, plain_mnist_step(x), "as the published code does it", 25
    )


def plain_mnist_step(x):
    """The training step of the published code, written anew: two modules, sampled log-densities, torch's Adam."""

    import torch
    from torch import nn
    from torch.nn import functional as F

    class Encoder(nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1, self.conv2 = nn.Conv2d(1, 32, 4, 2, 1), nn.Conv2d(32, 64, 4, 2, 1)
            self.mu, self.log_var = nn.Linear(3136, 2), nn.Linear(3136, 2)

        def forward(self, x):
            h = F.relu(self.conv2(F.relu(self.conv1(x)))).view(len(x), -1)
            return self.mu(h), self.log_var(h)

    class Generator(nn.Module):
        def __init__(self):
            super().__init__()
            self.fc, self.bn2, self.bn1 = nn.Linear(2, 3136), nn.BatchNorm2d(64), nn.BatchNorm2d(32)
            self.conv2, self.conv1 = nn.ConvTranspose2d(64, 32, 4, 2, 1), nn.ConvTranspose2d(32, 1, 4, 2, 1)

        def forward(self, z):
            h = F.relu(self.bn2(self.fc(z).view(-1, 64, 7, 7)))
            return torch.sigmoid(self.conv1(F.relu(self.bn1(self.conv2(h)))))

    encoder, generator = Encoder(), Generator()
    parameters = [*encoder.parameters(), *generator.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-3, weight_decay=1e-5)

    def step() -> None:
        mu, log_var = encoder(x)
        eps = torch.randn_like(mu)
        z = mu + torch.exp(0.5 * log_var) * eps
        recon = F.binary_cross_entropy(generator(z), x, reduction="sum") / len(x)
        log_p = -0.5 * (z**2).sum(1) - math.log(2 * math.pi)
        log_q = -0.5 * (eps**2).sum(1) - 0.5 * log_var.sum(1) - math.log(2 * math.pi)
        loss = recon + (log_q - log_p).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        loss.item()

    return step


# --- NVAE -----------------------------------------------------------------------------------------


def nvae(name: str, batch: int, config: dict, repeats: int) -> list[dict]:
    import torch
    from dgm_vaes.nvae import NVAE

    from dgmcore.sampling.stream_noise import StreamNoise

    torch.manual_seed(0)
    model = NVAE(config).eval()
    x = torch.rand(batch, *model.event_shape) * 2 - 1

    def sample() -> None:
        model.sample(StreamNoise(0, batch))

    def forward() -> None:
        with torch.no_grad():
            model.terms(x, StreamNoise(0, batch))

    def published(call: Callable[[], None]) -> Callable[[], None]:
        def run() -> None:
            with as_published():
                call()

        return run

    note = "the same net with its weights normalised in every pass"
    return [
        compared(f"NVAE {name}, prior sample, batch {batch}", sample, published(sample), note, repeats),
        compared(f"NVAE {name}, forward, batch {batch}", forward, published(forward), note, repeats),
    ]


@contextmanager
def as_published():
    """The layers as the published code writes them: nothing is kept from pass to pass, convolutions come last."""

    from dgm_vaes.nvae.layers import Conv2d, Upsample
    from torch.nn import functional as F

    def forward(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))

    kept = Conv2d.normalized_weight, Upsample.forward
    Conv2d.normalized_weight, Upsample.forward = Conv2d._normalize, forward
    try:
        yield
    finally:
        Conv2d.normalized_weight, Upsample.forward = kept
