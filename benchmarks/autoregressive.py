"""A PixelCNN that keeps what it has computed against one that is run for each pixel; MADE's masks against plain torch.

`python benchmarks/run.py autoregressive`, or alone: `python benchmarks/autoregressive.py`.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from timing import compared
from torch import Tensor

PIXELCNN = {"channels": 32, "layers": 8}  # of pixelcnn-fashion
IMAGES = 10_000  # judged by MADE at once


def run() -> list[dict[str, Any]]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [sampling(1, repeats=3), sampling(8, repeats=1), judging()]


def sampling(n: int, repeats: int) -> dict[str, Any]:
    """A PixelCNN's images, 28 x 28 of 256 levels: every pixel takes a pass over the image, or the rest of one pass."""

    from dgm_autoregressive.chain import uniform
    from dgm_autoregressive.gated import RowByRow
    from dgm_autoregressive.pixelcnn import PixelCNN

    from dgmcore.noise import IndexedNoise

    model = PixelCNN(PIXELCNN).eval()
    width = model.event_shape[-1]
    u = uniform(IndexedNoise(0, n), 784, model.head.uniforms).float()

    @torch.no_grad()
    def plain() -> Tensor:
        index = torch.zeros(n, *model.event_shape, dtype=torch.int64)
        for t in range(784):
            params = model.network(model._inputs(index, torch.float32))
            y, x = divmod(t, width)
            index[:, :, y, x] = model.head.draw(params[:, :, y, x], u[:, t])
        return index

    @torch.no_grad()
    def conditionals(index: Tensor) -> Tensor:
        """The numbers of all pixels, one by one."""
        net, seen, found = RowByRow(model.network, n), None, []
        for t in range(784):
            found.append(net.step(seen))
            y, x = divmod(t, width)
            seen = model._inputs(index[:, :, y, x, None, None], torch.float32).flatten(1)
        return torch.stack(found, 2)

    index = model.levels.index(model.sample(IndexedNoise(0, n)))
    with torch.no_grad():
        whole = model.network(model._inputs(index, torch.float32)).flatten(2)
    assert torch.allclose(conditionals(index), whole, atol=1e-5), "the two are not the same net"
    row = compared(
        f"PixelCNN, sample {n} of 28x28",
        lambda: model.sample(IndexedNoise(0, n)),
        plain,
        "the net run on the whole image for each of 784 pixels, in single precision",
        repeats=repeats,
        warmup=0,
    )
    return {**row, "limit": 0.2}


def judging() -> dict[str, Any]:
    from dgm_autoregressive.made import MADE

    model = MADE({"hidden": [1000]}).eval()
    torch.nn.init.normal_(model.network.direct.weight, std=0.01)
    first, last = model.network.layers
    net = model.network(model.orders[0])
    masks = [(layer.weight != 0).float() for layer in net.layers]
    before = torch.ones(784, 784).tril(-1)
    x = (torch.rand(IMAGES, 1, 28, 28) < 0.3).float()

    @torch.no_grad()
    def plain() -> Tensor:
        bits = x.flatten(1)
        signs = 2 * bits - 1
        h = F.linear(signs, first.weight * masks[0], first.bias).relu()
        logits = F.linear(h, last.weight * masks[1], last.bias)
        logits = logits + F.linear(signs, model.network.direct.weight * before)
        return -F.binary_cross_entropy_with_logits(logits, bits, reduction="none").sum(1)

    @torch.no_grad()
    def ours() -> Tensor:
        return model.log_prob(x)

    assert torch.allclose(ours(), plain(), atol=1e-2), "the two are not the same net"
    return compared(f"MADE, log_prob of {IMAGES:,}", ours, plain, "the same masks in plain torch", repeats=7)


if __name__ == "__main__":
    for row in run():
        print(f"{row['name']:30} ours {row['ours']:8.1f} ms  theirs {row['theirs']:8.1f} ms  ratio {row['ratio']:.3f}")
