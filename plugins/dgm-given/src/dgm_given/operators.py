r"""Operators: what of a datum is observed. Each maps `(n, *event_shape)` to `(n, *shape)`, and is linear.

A plugin provides more by the hook `dgm_operators`: a function `(argument, event_shape) -> operator`, where the
argument is the text after the colon.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from dgmcore.errors import DataError, PluginError, UsageError
from dgmcore.plugins import call
from dgmcore.plugins.provided import import_string, provided
from dgmcore.suggestions import did_you_mean

__all__ = ["Operator", "adjoint", "blur", "build", "coordinates", "crop", "downsample", "grey", "linear", "masked"]

Shape = tuple[int, ...]
Operator = Callable[[Tensor], Tensor]


def build(text: str, event_shape: Shape) -> Operator:
    """Returns the operator that a text such as `downsample:4` names, for data of a shape.

    Raises:
        UsageError: If there is none, or the shape does not fit.
    """

    name, _, argument = text.partition(":")
    known = provided().operators
    if name not in known:
        raise UsageError(f"no operator is called {name!r:.60}", did_you_mean(name, known))
    record = known[name]
    try:
        function = import_string(record.import_)
    except (Exception, SystemExit) as e:
        raise PluginError(
            f"plugin {record.plugin}: the operator {name} can't be imported: {e}", "see `dgm plugins`"
        ) from e
    operator: Operator = function(argument, event_shape)
    return operator


def adjoint(operator: Operator, y: Tensor, like: Tensor) -> Tensor:
    """Returns the transpose of a linear operator at `y`, `(n, *event_shape)`."""

    with torch.inference_mode(False), torch.enable_grad():
        x = torch.zeros_like(like).requires_grad_(True)
        (back,) = torch.autograd.grad((operator(x) * y).sum(), x)
    return back


# --- those of this plugin ---------------------------------------------------------------------------


def masked(known: Tensor) -> Operator:
    """Returns the operator that keeps what is known.

    Arguments:
        known: bool, of the shape of a datum; or one plane for all channels.
    """

    return lambda x: x.flatten(1)[:, known.expand(x.shape[1:]).flatten().to(x.device)]


def coordinates(index: list[int]) -> Operator:
    """Returns the operator that keeps some numbers of a flattened datum."""

    return lambda x: x.flatten(1)[:, index]


def downsample(argument: str, event_shape: Shape) -> Operator:
    """`downsample:4`: means of squares of 4 x 4 pixels."""

    factor = _number(argument, "downsample", "downsample:4", int)
    height, width = _image(event_shape, "downsample")
    if factor < 2 or height % factor or width % factor:
        raise UsageError(
            f"downsample:{factor} does not fit images of {width} x {height}", "give a factor that divides both sides"
        )
    return lambda x: F.avg_pool2d(_planes(x), factor)


def blur(argument: str, event_shape: Shape) -> Operator:
    """`blur:1.5`: a Gaussian of that deviation in pixels, with mirrored borders."""

    deviation = _number(argument, "blur", "blur:1.5", float)
    height, width = _image(event_shape, "blur")
    radius = math.ceil(3 * deviation)
    if not deviation > 0 or radius >= min(height, width):
        raise UsageError(
            f"blur:{deviation:g} does not fit images of {width} x {height}",
            "give a deviation in pixels, above 0 and below a third of the image",
        )
    kernel = torch.exp(-torch.arange(-radius, radius + 1.0).square() / (2 * deviation**2))
    kernel = kernel / kernel.sum()

    def apply(x: Tensor) -> Tensor:
        planes = _planes(x)
        channels, k = planes.shape[1], kernel.to(planes)
        padded = F.pad(planes, (radius, radius, radius, radius), mode="reflect")
        rows = F.conv2d(padded, k.expand(channels, 1, 1, -1), groups=channels)
        return F.conv2d(rows, k[:, None].expand(channels, 1, -1, 1), groups=channels).reshape(x.shape)

    return apply


def grey(argument: str, event_shape: Shape) -> Operator:
    """`grey`: the luma of ITU-R 601, as Pillow's mode L, `(n, 1, H, W)`."""

    _image(event_shape, "grey")
    if argument:
        raise UsageError(f"grey takes no argument, not {argument!r:.40}", "write --operator grey")
    if len(event_shape) != 3 or event_shape[0] != 3:
        raise UsageError("grey does not fit: the model's images have no colours", "leave out --operator grey")
    weights = torch.tensor([0.299, 0.587, 0.114])
    return lambda x: (x * weights.to(x)[:, None, None]).sum(1, keepdim=True)


def crop(argument: str, event_shape: Shape) -> Operator:
    """`crop:X,Y,WIDTH,HEIGHT`: a part of the image, from its upper left corner."""

    height, width = _image(event_shape, "crop")
    try:
        x0, y0, w, h = (int(part) for part in argument.split(","))
    except ValueError:
        raise UsageError(f"crop:{argument} names no part of an image", "write crop:X,Y,WIDTH,HEIGHT") from None
    if min(x0, y0) < 0 or min(w, h) < 1 or x0 + w > width or y0 + h > height:
        raise UsageError(f"crop:{argument} is not inside images of {width} x {height}", "write crop:X,Y,WIDTH,HEIGHT")
    return lambda x: x[..., y0 : y0 + h, x0 : x0 + w]


def linear(argument: str, event_shape: Shape) -> Operator:
    """`linear:A.npy`: the matrix `(m, d)` of a file times the flattened datum."""

    d = math.prod(event_shape)
    matrix = torch.from_numpy(read_array(argument, "linear:A.npy")).double()
    if matrix.ndim != 2 or matrix.shape[1] != d or not len(matrix):
        raise UsageError(f"{argument} has the shape {list(matrix.shape)}", f"give a matrix of {d} columns")
    return lambda x: x.flatten(1) @ matrix.to(x).T


def read_array(path: str, example: str) -> np.ndarray:
    """Returns the array in a `.npy` file, of finite numbers.

    Raises:
        DataError: If there is none.
    """

    import io
    import os
    from pathlib import Path

    if not path:
        raise UsageError("no file is named", f"write {example}")
    data = call("read_file")(Path(os.path.expanduser(path)))
    try:
        array = np.load(io.BytesIO(data), allow_pickle=False)
        array = np.asarray(array, dtype=np.float64)
    except (ValueError, OSError, EOFError, TypeError) as e:
        raise DataError(
            f"{path} can't be read: {(str(e).splitlines() or ['?'])[0]}", "give an array saved by numpy"
        ) from None
    if not np.isfinite(array).all():
        raise DataError(f"{path} has numbers that are not finite", "give finite numbers")
    return array


def _planes(x: Tensor) -> Tensor:
    return x if x.ndim == 4 else x[:, None]


def _image(event_shape: Shape, name: str) -> tuple[int, int]:
    """Returns the height and the width of images, which the operator `name` is for."""

    from dgmcore.sampling.pictures import kind_of

    if kind_of(event_shape) != "image":
        raise UsageError(
            f"{name} is for images; the model's data have the shape {list(event_shape)}", "use x0=..., linear:A.npy"
        )
    return event_shape[-2], event_shape[-1]


def _number(argument: str, name: str, example: str, kind: type) -> float:
    try:
        number = kind(argument)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise UsageError(f"{name}:{argument} has no number", f"write {example}")
    return number
