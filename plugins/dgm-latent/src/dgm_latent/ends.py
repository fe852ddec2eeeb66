"""The ends of a walk as one gives them: latents by their numbers, or data whose codes they are."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor

from dgmcore.data import open_for
from dgmcore.errors import UsageError
from dgmcore.interfaces import Encoder, Pushforward
from dgmcore.sampling.settings import model_name, undisturbed

from .interpolate import walk
from .reconstruct import as_encoder

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["between_ends"]


def between_ends(model: Model, start: str, end: str, steps: int) -> Tensor:
    """Returns the straight walk between two latents, shape `(1, steps, *event_shape)`.

    Arguments:
        model: An encoder, whose codes are walked, or a map of one noise to data, such as a GAN.
        start: The numbers of a latent, as `-1,-1` (one number stands for all), or data, the first of which is encoded.
        end: Likewise.
        steps: The points of the walk, its ends included.

    Raises:
        UsageError: If the model has no latents, or other ones.
    """

    shape, decode = _latents(model)
    a, b = (_end(model, text, shape) for text in (start, end))
    return walk(model, lambda t: decode(a + t * (b - a)), steps)


def _latents(model: Model) -> tuple[tuple[int, ...], Callable[[Tensor], Tensor]]:
    """Returns the shape of a model's latents, and what makes data of them."""

    name = model_name(model)
    if model.can("encoder"):
        encoder = as_encoder(model)
        with torch.no_grad(), undisturbed(model):
            code = encoder.encode(torch.zeros(1, *model.event_shape, device=model.device, dtype=model.dtype))
        if isinstance(code, Tensor):
            return tuple(code.shape[1:]), encoder.decode
        raise UsageError(f"{name} has codes of several levels", "walk between data: --data FILE")
    if model.can("pushforward"):
        push, shapes = cast(Pushforward, model).push, cast(Pushforward, model).noise_shapes
        if len(shapes) == 1 and isinstance(shape := next(iter(shapes.values())), tuple):
            return shape, lambda z: push({next(iter(shapes)): z})
    raise UsageError(f"{name} has no one latent to walk in", "leave out --from and --to")


def _end(model: Model, text: str, shape: tuple[int, ...]) -> Tensor:
    """Returns the latent that `text` says, `(1, *shape)`."""

    try:
        numbers = [float(number) for number in text.split(",")]
    except ValueError:
        if not model.can("encoder"):
            raise UsageError(
                f"{text} is no latent, and {model_name(model)} can't encode data", "write numbers, as --from -1,-1"
            ) from None
        x = open_for(model, text).take(np.array([0]))
        with torch.no_grad(), undisturbed(model):
            return cast(Tensor, cast(Encoder, model).encode(x.to(model.device, model.dtype)))
    wanted = math.prod(shape)
    if len(numbers) not in (1, wanted) or not all(map(math.isfinite, numbers)):
        raise UsageError(
            f"{text} is no latent of {model_name(model)}, which has {wanted} numbers", "one number stands for all"
        )
    z = torch.tensor(numbers, device=model.device, dtype=model.dtype)
    return z.expand(wanted).reshape(1, *shape)
