"""Which data a recipe or an entry asks for, and what is done to them."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ..config import Config, Real, Size

__all__ = ["DataSpec"]

Byte = Annotated[int, msgspec.Meta(ge=0, le=255)]
Levels = Annotated[int, msgspec.Meta(ge=2, le=65_536)]
Rows = Annotated[int, msgspec.Meta(ge=1, le=2**63 - 1)]


class DataSpec(Config):
    """Training data: a data set's name or a path, and what is done to it on the way to the model."""

    dataset: str  # a registered name, or a path (.npy, .npz, .csv, .safetensors, image, folder or zip of images)
    split: str = "train"
    options: dict[str, Any] = {}  # of the data set: noise of moons, holdout of celeba64, ...
    range: tuple[Real, Real] | None = None  # images are carried to this range
    levels: Levels | None = None
    pad: Size | None = None  # images are padded to this height and width
    resize: Size | None = None  # images are resized to this height and width
    crop: bool = False  # images are cut to squares first, from their middle; picture files may then differ in size
    background: tuple[Byte, Byte, Byte] | None = None  # transparent picture files are put on this colour
    flip: bool = False  # random horizontal flips, in training
    dequantize: bool = False  # uniform noise of one level, in training and for likelihoods
    limit: Rows | None = None  # the first so many
