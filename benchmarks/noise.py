"""Drawing the noise of pictures, against `torch.randn`, whose numbers depend on what was drawn before."""

from __future__ import annotations

import time

from timing import compared

#: How many times as long as `torch.randn` each version may take: by float64, and by float32.
LIMITS = {1: 4.0, 2: 2.0}


def run() -> list[dict]:
    import torch

    from dgmcore.noise import IndexedNoise

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # `torch.randn` takes no more
    rows = [
        compared(
            f"normal noise of version {version}, 64 x 3 x 64 x 64, float32",
            lambda version=version: IndexedNoise(0, 64, version=version).normal(3, 64, 64),
            lambda: torch.randn(64, 3, 64, 64),
            "torch.randn: other bits in another batch; ours come from a counter (one thread, its time)",
            repeats=51,
            clock=time.thread_time,
        )
        for version in LIMITS
    ]
    torch.set_num_threads(threads)
    return [{**row, "limit": limit} for row, limit in zip(rows, LIMITS.values(), strict=True)]
