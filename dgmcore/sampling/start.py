"""The sampling options `init` and `strength`: starting from a picture instead of from noise."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ..errors import OptionError


def start_from(init: Any, strength: float, like: Tensor) -> Tensor:
    """Returns the picture that a sampler starts from, for each sample of a batch `like` `(n, *event_shape)`.

    Raises:
        OptionError: If it is no picture of that shape, or the strength would change nothing.
    """
    shape = like.shape[1:]
    if not isinstance(init, Tensor) or init.shape[-len(shape) :] != shape:
        raise OptionError(f"init is no picture of shape {list(shape)}", "give a tensor, or --init FILE in a command")
    if strength == 0:
        raise OptionError("strength 0 would change nothing", "try --set strength=0.5")
    return init.to(like).expand_as(like)
