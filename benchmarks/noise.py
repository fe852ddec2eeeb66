"""Drawing the noise of pictures, against `torch.randn`, whose numbers depend on what was drawn before."""

from __future__ import annotations

from timing import compared


def run() -> list[dict]:
    import torch

    from dgmcore.noise import IndexedNoise

    row = compared(
        "normal noise, 64 x 3 x 64 x 64, float32",
        lambda: IndexedNoise(0, 64).normal(3, 64, 64),
        lambda: torch.randn(64, 3, 64, 64),
        "torch.randn: other bits in another batch; ours come from a counter, by float64",
    )
    return [{**row, "limit": 4}]
