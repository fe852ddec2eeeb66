"""Loading weights, against torch's own way with the same tensors.

`dgm` reads: header checked, sha256 known from the first load, one memory map, one copy. torch: build the module,
`torch.load(weights_only=True)`, `load_state_dict`; both with the file in the page cache, interleaved.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from timing import compared

SIZES = {"4 MB": 350, "100 MB": 1750}  # hidden units of a Real NVP of 4 layers


def run() -> list[dict]:
    return list(measure())


def measure() -> Iterator[dict]:
    import torch

    from dgmcore.loading import load as loading
    from dgmcore.plugins.provided import architecture

    kind = architecture("realnvp")
    with tempfile.TemporaryDirectory() as name:
        for size, hidden in SIZES.items():
            config = {"dim": 2, "layers": 4, "hidden": hidden}
            model = loading.build("realnvp", config)
            folder = model.save(
                Path(name) / str(hidden), name="bench", license="mit", data={"dataset": "moons", "event_shape": [2]}
            )
            checkpoint = Path(name) / f"{hidden}.pt"
            torch.save(model.state_dict(), checkpoint)
            target, file = kind(config), folder / "model.safetensors"

            def theirs(checkpoint=checkpoint, config=config):
                module = kind(config)
                module.load_state_dict(torch.load(checkpoint, map_location="cpu", weights_only=True))
                return module.eval()

            pairs = {
                f"load a model, {size}": (
                    lambda folder=folder: loading.load(folder),
                    theirs,
                    "build, torch.load, copy",
                ),
                f"read {size} into a model": (
                    lambda target=target, file=file: read(target, file),
                    lambda target=target, checkpoint=checkpoint: target.load_state_dict(
                        torch.load(checkpoint, map_location="cpu", weights_only=True)
                    ),
                    "torch.load, copy",
                ),
            }
            for what, (ours, other, note) in pairs.items():
                yield compared(what, ours, other, note, repeats=7)


def read(model, path) -> None:
    from dgmcore.files.safetensors import read_header
    from dgmcore.files.verify import open_regular
    from dgmcore.loading.load import read_into

    with open_regular(path) as file:
        read_header(file)
        read_into(model, file, source=path)


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    for row in measure():
        print(
            f"{row['name']:28} {row['ours']:8.1f} ms, {row['note']}: {row['theirs']:8.1f} ms, ratio {row['ratio']:.2f}"
        )
