"""Diffusion, diffusion GANs and probability flows against diffusers, published code and torchdiffeq."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from contextlib import ExitStack

#: google/ddpm-cifar10-32's network.
CIFAR10 = {
    "block_out_channels": [128, 256, 256, 256],
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"],
    "downsample_padding": 0,
    "flip_sin_to_cos": False,
    "freq_shift": 1,
}
SMALL = {
    "block_out_channels": [16, 32],
    "layers_per_block": 1,
    "down_block_types": ["DownBlock2D", "DownBlock2D"],
    "up_block_types": ["UpBlock2D", "UpBlock2D"],
    "norm_num_groups": 8,
}


def run() -> list[dict]:
    """Measures; see `run.py` for what a row is."""

    return [
        unet(),
        sampling("ddim", "DDIMPipeline", "DDIMScheduler", 50),
        sampling("ddpm", "DDPMPipeline", "DDPMScheduler", 50),
        ddgan("small", 8, 16, {"width": 16, "multipliers": [1, 2], "blocks": 1, "attention": [8], "embedding": 32}, 15),
        ddgan("CIFAR-10", 4, 32, {}, 3),
        probability_flow(),
    ]


def unet() -> dict:
    import torch
    from dgm_diffusion.ddpm import DDPM
    from diffusers import UNet2DModel

    torch.manual_seed(0)
    network = {"kind": "unet", "args": CIFAR10}
    model = DDPM({"event_shape": [3, 32, 32], "network": network}).eval()
    plain = UNet2DModel(sample_size=32, in_channels=3, out_channels=3, **CIFAR10).eval()
    plain.load_state_dict(model.network.state_dict())
    x, t = torch.randn(4, 3, 32, 32), torch.full((4,), 500)
    note = "diffusers' UNet2DModel, the same weights"
    return compared("DDPM CIFAR-10, U-Net, batch 4", lambda: model.predict(x, t), lambda: plain(x, t).sample, 9, note)


def sampling(sampler: str, pipeline: str, scheduler: str, steps: int) -> dict:
    """A U-Net so small that what goes on around it counts too."""

    import diffusers
    import torch
    from dgm_diffusion.ddpm import DDPM

    from dgmcore.noise import IndexedNoise

    torch.manual_seed(0)
    network = {"kind": "unet", "args": SMALL}
    model = DDPM({"event_shape": [1, 16, 16], "network": network, "clip": [-1, 1]}).eval()
    theirs = getattr(diffusers, pipeline)(model.network, getattr(diffusers, scheduler)())
    theirs.set_progress_bar_config(disable=True)
    return compared(
        f"{sampler.upper()}, small U-Net, {steps} steps, batch 16",
        lambda: model.sample(IndexedNoise(0, 16), sampler=sampler, steps=steps),
        lambda: theirs(batch_size=16, num_inference_steps=steps, output_type="np"),
        9,
        f"diffusers' {pipeline}",
    )


def ddgan(name: str, batch: int, size: int, spec: dict, repeats: int) -> dict:
    import torch
    from dgm_hybrids.ddgan.model import DDGAN

    config = {"event_shape": [3, size, size], "discriminator": {"kind": "none"}, "generator": {"kind": "unet", **spec}}
    torch.manual_seed(0)
    ours = DDGAN(config).eval()
    with as_published():
        published = DDGAN(config).eval()
    published.load_state_dict(ours.state_dict())
    x, t, z = torch.randn(batch, 3, size, size), torch.full((batch,), 2), torch.randn(batch, 100)

    def theirs() -> None:
        with as_published():
            published.generator(x, t, z)

    note = "the same net with resampling and attention as the published code writes them"
    return compared(f"DDGAN {name}, generator, batch {batch}", lambda: ours.generator(x, t, z), theirs, repeats, note)


def as_published() -> ExitStack:
    """The layers as the published code writes them; use it as a context."""

    import torch
    import torch.nn.functional as F
    from dgm_hybrids.ddgan import unet
    from torch import Tensor

    def upfirdn(x: Tensor, gain: float, up: int, down: int, before: int, after: int) -> Tensor:
        """Stuffs with zeros, pads, filters each channel as an image of its own, and drops pixels."""
        n, c, h, w = x.shape
        k = torch.tensor([1.0, 3.0, 3.0, 1.0], dtype=x.dtype) / 8
        x = x.reshape(n * c, h, 1, w, 1)
        x = F.pad(x, [0, up - 1, 0, 0, 0, up - 1]).reshape(n * c, 1, h * up, w * up)
        x = F.pad(x, [before, after, before, after])
        x = F.conv2d(x, (gain * torch.outer(k, k)).flip(0, 1)[None, None])
        x = x[:, :, ::down, ::down]
        return x.reshape(n, c, *x.shape[2:])

    def conv_downsample(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        return F.conv2d(upfirdn(x, 1.0, 1, 1, 2, 2), weight, bias, stride=2)

    def attention(self: unet.Attention, x: Tensor, *_: object) -> Tensor:
        n, c, h, w = x.shape
        y = self.norm(x)
        q, k, v = (
            torch.einsum("nchw,dc->ndhw", y, f.weight) + f.bias[:, None, None]
            for f in (self.query, self.key, self.value)
        )
        a = torch.einsum("nchw,ncij->nhwij", q, k) * c**-0.5
        a = a.reshape(n, h, w, h * w).softmax(-1).reshape(n, h, w, h, w)
        y = torch.einsum("nhwij,ncij->nchw", a, v)
        return (x + torch.einsum("nchw,dc->ndhw", y, self.out.weight) + self.out.bias[:, None, None]) / 2**0.5

    stack = ExitStack()
    for owner, name, plain in (
        (unet, "downsample", lambda x: upfirdn(x, 1.0, 1, 2, 1, 1)),
        (unet, "upsample", lambda x: upfirdn(x, 4.0, 2, 1, 2, 1)),
        (unet, "conv_downsample", conv_downsample),
        (unet.Attention, "forward", attention),
    ):
        stack.callback(setattr, owner, name, getattr(owner, name))
        setattr(owner, name, plain)
    return stack


def probability_flow() -> dict:
    import torch
    from dgm_diffusion.scoresde import ScoreSDE
    from torchdiffeq import odeint

    torch.manual_seed(0)
    model = ScoreSDE({"network": {"kind": "mlp", "width": 128, "depth": 4}}).eval()
    z = torch.randn(1000, 2)
    times = model.grid(40, z).flip(0)

    def theirs() -> torch.Tensor:
        def field(t: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
            score = model.gradient_field(x, t.expand(len(x)))
            return -0.5 * model.beta(t) * (x + score)

        return odeint(field, z, times, method="rk4")[-1]

    note = "torchdiffeq's odeint over a drift that takes a time for each point"
    return compared("score SDE, probability flow, 1000 points", lambda: model.push({"x": z}), theirs, 5, note)


def compared(name: str, ours: Callable, theirs: Callable, repeats: int, note: str) -> dict:
    """Times both in turn; medians in milliseconds."""

    import torch

    times: dict[Callable, list[float]] = {ours: [], theirs: []}
    with torch.no_grad():
        for i in range(repeats + 1):
            for f in (ours, theirs):
                start = time.perf_counter()
                f()
                if i:  # the first is a warm-up
                    times[f].append(1e3 * (time.perf_counter() - start))
    a, b = (statistics.median(times[f]) for f in (ours, theirs))
    return {"name": name, "ours": a, "theirs": b, "unit": "ms", "ratio": a / b, "note": note}
