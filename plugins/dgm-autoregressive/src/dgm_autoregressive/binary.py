"""Binarised MNIST: each pixel drawn once, black or white."""

from __future__ import annotations

import os

import numpy as np

from dgmcore.data import open_data
from dgmcore.data.images import Images
from dgmcore.errors import DataError
from dgmcore.sampling.stream_noise import derive_seed

__all__ = ["BinaryImages", "mnist_binary"]


class BinaryImages(Images):
    """Images of two levels, in bytes 0 and 255."""

    levels = 2
    range = (0.0, 1.0)


def mnist_binary(split: str = "train", root: str | os.PathLike[str] | None = None, *, seed: int = 0) -> BinaryImages:
    r"""MNIST with each pixel drawn once: white with the probability :math:`g / 255`, g being its grey value [1].

    The draws are a function of the `seed` and the split alone.

    References:
        [1] On the quantitative analysis of deep belief networks (Salakhutdinov & Murray, 2008)
    """

    if isinstance(seed, bool) or not isinstance(seed, int):
        raise DataError(f"the option seed of mnist-binary must be a whole number, not {seed!r}", "set seed")
    grey = open_data("mnist", split=split).base
    assert isinstance(grey, Images)
    random = np.random.Generator(np.random.Philox(key=derive_seed(seed, f"mnist-binary/{split}")))
    # uniform on 0 to 254, which is below g in g of 255 cases
    white = random.integers(0, 255, grey.array.shape, np.uint8) < grey.array
    labels = grey.labels(np.arange(len(grey)))
    return BinaryImages("mnist-binary", 255 * white.astype(np.uint8), None if labels is None else labels.numpy())
