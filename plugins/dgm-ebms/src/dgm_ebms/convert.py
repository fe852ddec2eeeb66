"""Checkpoints that the authors of VAEBM publish."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from dgmcore.conversion.converters import Converted, options_of, read_checkpoint, tensors_of
from dgmcore.entry import Data
from dgmcore.errors import UsageError, WeightsError

from .networks import LAYOUTS, read_layout

__all__ = ["vaebm_energy"]

_SIZES = {"mnist": 28, "cifar10": 32, "celeba64": 64, "lsun64": 64, "celebahq256": 256, "small": 28}
_DATA = {"lsun64": "lsun-church", "celebahq256": "celebahq"}


def vaebm_energy(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts an energy network of any of the published layouts.

    Options:
        size: The height of its images; by default that of the data set that the layout was published for.
        dataset: What it was trained on; by default that data set.
    """

    given = options_of(options, size=None, dataset=None)
    if len(files) != 1:
        raise UsageError(
            f"vaebm-energy needs one file, not {len(files)}", "for VAE and energy together: --format vaebm"
        )
    state = tensors_of(read_checkpoint(files[0], allow=[Namespace]))
    if "conv1.weight" not in state or "linear.weight" not in state:
        raise WeightsError(
            f"{files[0].name} is no energy network of VAEBM", "its tensors are conv1, blocks.0.conv1, ..., linear"
        )
    channels, image = state["conv1.weight"].shape[:2]
    layout = _layout_of(state, channels)
    size = int(given["size"] or _SIZES[layout])
    return Converted(
        architecture="resnet-energy",
        config={"event_shape": [image, size, size], "channels": channels, "layout": layout},
        state=state,
        license="NVIDIA Source Code License for VAEBM (non-commercial)",
        data=Data(
            dataset=str(given["dataset"] or _DATA.get(layout, layout)),
            event_shape=(image, size, size),
            range=(-1.0, 1.0),
            levels=256,
        ),
        summary="Energy network of VAEBM, as published",
        papers=[
            {
                "title": "VAEBM: A Symbiosis between Variational Autoencoders and Energy-based Models",
                "url": "https://arxiv.org/abs/2010.00654",
            }
        ],
    )


def _layout_of(state: dict[str, Any], channels: int) -> str:
    """Returns the name of the published layout whose blocks have these widths and skips.

    A block has a skip where it halves the size or changes the channels, so shapes alone do not tell the two
    apart; the published networks all differ in them.
    """

    blocks = []
    while f"blocks.{len(blocks)}.conv1.weight" in state:
        i = len(blocks)
        blocks.append((len(state[f"blocks.{i}.conv1.weight"]) // channels, f"blocks.{i}.skip.0.weight" in state))
    for name, text in LAYOUTS.items():
        layout = read_layout(text)
        before = [1, *(multiple for multiple, _ in layout)]
        if blocks == [(m, down or m != previous) for (m, down), previous in zip(layout, before, strict=False)]:
            return name
    raise WeightsError(
        f"an energy network of {len(blocks)} blocks with the widths {[m for m, _ in blocks]} was never published",
        "build resnet-energy with a layout of your own and load the tensors in Python",
    )
