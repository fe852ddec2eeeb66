"""A Langevin step of VAEBM against a straightforward writing of the published one."""

from __future__ import annotations

import math
from contextlib import ExitStack, contextmanager

from timing import compared
from vaes import SMALL


def run() -> list[dict]:
    """Measures; see `run.py` for what a row is."""

    return [
        langevin_step("small", 8, SMALL, {"event_shape": [3, 32, 32], "channels": 16, "layout": "cifar10"}, 15),
        langevin_step("CelebA 64", 4, {"channels": 48, "flows": 1}, {"channels": 64, "layout": "celeba64"}, 3),
    ]


def langevin_step(name: str, batch: int, vae: dict, energy: dict, repeats: int) -> dict:
    import torch
    from dgm_ebms.networks import ResNetEnergy
    from dgm_hybrids.vaebm import VAEBM
    from dgm_vaes.nvae import NVAE

    from dgmcore.compose import flatten
    from dgmcore.sampling.stream_noise import StreamNoise

    torch.manual_seed(0)
    model = VAEBM(base=NVAE(vae), critic=ResNetEnergy(energy)).eval()
    start = StreamNoise(0, batch).named(model.chain_shapes)
    options = model.Sampling(steps=1, step_size=5e-6)

    def ours() -> None:
        for _ in model.chain(start, StreamNoise(1, batch), options):
            pass

    def published() -> None:
        """Everything on the graph: log p(z) and log p(x | z), all parameters, weights normalised in the pass."""
        eps = {k: {g: e.clone() for g, e in v.items()} if isinstance(v, dict) else v.clone() for k, v in start.items()}
        leaves = list(flatten(eps).values())
        for e in leaves:
            e.requires_grad_(True)
        with as_published():
            x, log_prior, log_likelihood = model.parts["base"].joint(eps, log_sigma_min=-2.0)
            energy = -model.parts["critic"].score(x)
            (energy - log_prior - log_likelihood).sum().backward()
        with torch.no_grad():
            for e in leaves:
                e.add_(e.grad, alpha=-options.step_size / 2)
                e.add_(torch.randn_like(e), alpha=math.sqrt(options.step_size))
        model.zero_grad()

    return compared(
        f"VAEBM {name}, Langevin step, batch {batch}",
        ours,
        published,
        "the same nets as the published code runs them: gradients of all weights, densities, weights normalised",
        repeats,
    )


@contextmanager
def as_published():
    """The layers as the published code writes them: nothing is kept from pass to pass, convolutions come last."""

    from dgm_ebms.networks import ResBlock, lip_swish
    from dgm_ebms.weightnorm import WNConv2d
    from dgm_vaes.nvae.layers import Conv2d, Upsample
    from torch.nn import functional as F

    def normalized(self):
        return self.log_weight_norm.exp() * self._direction()

    def block(self, x):
        y = self.conv2(lip_swish(self.conv1(x))) + self.skip(x)
        return lip_swish(F.avg_pool2d(y, 2) if self.down else y)

    def upsample(self, x):
        return self.conv(F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True))

    with ExitStack() as stack:
        for owner, name, plain in (
            (WNConv2d, "normalized_weight", normalized),
            (ResBlock, "forward", block),
            (Conv2d, "normalized_weight", Conv2d._normalize),
            (Upsample, "forward", upsample),
        ):
            stack.callback(setattr, owner, name, getattr(owner, name))
            setattr(owner, name, plain)
        yield
