"""What the commands write, with the record of how it was made; `dgm replay` makes it again by the same functions."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from dgmcore.data import as_tensor, open_for
from dgmcore.errors import DataError, UsageError
from dgmcore.plugins import call
from dgmcore.sampling.provenance import making

from .ends import between_ends
from .interpolate import between_data, between_samples, write_walks
from .reconstruct import as_encoder, reconstruct, write_beside

if TYPE_CHECKING:
    from dgmcore.model import Model

__all__ = ["write_interpolation", "write_reconstructions"]

MOST = 10_000  # points of all walks together: they are pushed one by one, and held in memory

PathLike = str | os.PathLike[str]


def write_interpolation(
    model: Model,
    target: PathLike,
    *,
    name: str | None = None,
    rows: int,
    steps: int,
    seed: int = 0,
    data: str | None = None,
    data_is: Mapping[str, Any] | None = None,
    start: str | None = None,
    end: str | None = None,
) -> tuple[Path, Tensor]:
    """Writes walks between samples, between the codes of data, or between two ends that are given.

    Arguments:
        model: A model.
        target: The picture, or animation.
        name: What the user called the model.
        rows: How many walks.
        steps: The points of each.
        seed: Of the samples.
        data: The data whose codes are the ends, if not samples.
        data_is: Says by `sha256` which data they must be.
        start: Where one straight walk begins, see :func:`~dgm_latent.ends.between_ends`, and
        end: where it ends; both or none.

    Returns:
        Where they are, and the walks `(rows, steps, *event_shape)`.

    Raises:
        DataError: If the data are others.
        UsageError: If the walks are too long.
    """

    if (rows if start is None else 1) * steps > MOST:
        raise UsageError(f"{rows} x {steps:,} are too many points of walks", f"choose {MOST:,} or fewer in all")
    ends = None
    if start is not None and end is not None:
        walks = between_ends(model, start, end, steps)
    elif data is None:
        walks = between_samples(model, rows, steps, seed=seed)
    else:
        as_encoder(model)
        ends = _data(model, data, 2 * rows, data_is)
        walks = between_data(model, ends, steps)
    given = {} if start is None else {"start": start, "end": end}
    about = {"rows": rows, "steps": steps, "seed": seed, "data": data, **given}
    with making("interpolate", model, name=name, **about, data_is=ends):
        return write_walks(model, walks, target), walks


def write_reconstructions(
    model: Model,
    target: PathLike,
    *,
    name: str | None = None,
    data: str,
    n: int,
    data_is: Mapping[str, Any] | None = None,
) -> tuple[Path, Tensor, Tensor]:
    """Writes data beside their reconstructions; arguments and errors as for :func:`write_interpolation`.

    Returns:
        Where they are, the data, and the reconstructions, both `(n, *event_shape)`.
    """

    if not model.can("pushforward"):
        as_encoder(model)
    x = _data(model, data, n, data_is)
    back = torch.cat([reconstruct(model, part) for part in torch.split(x, 64)])
    with making("reconstruct", model, name=name, data=data, n=n, data_is=x):
        return write_beside(model, x, back, target), x, back


def _data(model: Model, data: str, n: int, data_is: Mapping[str, Any] | None) -> Tensor:
    x = as_tensor(open_for(model, data), n)
    if data_is is not None and call("digest")(x) != data_is.get("sha256"):
        what = f"{data} has other data than when the file was made"
        raise DataError(what, "the file can't be made again with these")
    return x
