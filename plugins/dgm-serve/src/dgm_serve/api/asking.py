"""Requests as typed structs, and how they are read."""

from __future__ import annotations

import base64
import binascii
import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec
from starlette.requests import Request

from dgmcore.config import Config, Real, parse
from dgmcore.errors import DataError, UsageError

from ..limits import check_options, check_size
from ..service import Service

if TYPE_CHECKING:
    from torch import Tensor

    from dgmcore.model import Model

__all__ = ["Ask", "AskData", "Seed", "data_of", "model_of", "read", "read_query", "service_of"]

Seed = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]
Number = Annotated[int, msgspec.Meta(ge=0, le=2**53)]

A = TypeVar("A", bound=Config)


class Ask(Config):
    """What a question about a model's samples says: those of `dgm sample MODEL -n N --seed SEED --tilt TILT:WEIGHT`."""

    model: str
    n: Annotated[int, msgspec.Meta(ge=1)] = 16
    seed: Seed = 0
    start: Number = 0  # the number of the first sample
    options: dict[str, Any] = {}
    tilt: str | None = None  # the name of a critic
    weight: Real = 1.0


class AskData(Config):
    """What a question about data says: numbers in the model's range, or bytes of pixels."""

    model: str
    data: list[Any] | None = None  # (n, *event_shape), nested or flat
    pixels: str | None = None  # the same as bytes 0 to 255 in base64, C order
    seed: Seed = 0
    options: dict[str, Any] = {}


async def read(request: Request, kind: type[A]) -> A:
    """Returns the JSON body of a request as a struct.

    Raises:
        UsageError: If it is not that.
    """

    try:
        data = json.loads(await request.body())
    except (ValueError, RecursionError):
        raise UsageError("the request is no JSON", 'send an object, such as {"model": "NAME"}') from None
    return _checked(data, kind)


def read_query(request: Request, kind: type[A], key: str = "ask") -> A:
    """Returns a struct from the query of an address, where it is JSON under one key."""

    try:
        data = json.loads(request.query_params.get(key, ""))
    except (ValueError, RecursionError):
        raise UsageError(f"the address has no JSON {key}", f'{key}={{"model": "NAME"}}') from None
    return _checked(data, kind)


def _checked(data: Any, kind: type[A]) -> A:
    if not isinstance(data, dict):
        raise UsageError("the request is no JSON object", 'send an object, such as {"model": "NAME"}')
    return parse(kind, data, source="request", error=UsageError)


def service_of(request: Request) -> Service:
    """Returns what all requests share."""

    service: Service = request.app.state.service
    return service


@contextmanager
def model_of(service: Service, ask: Ask) -> Iterator[Model]:
    """Yields the model that samples are asked of, tilted if so asked, after a look at what is asked.

    Raises:
        DgmError: If there is no such model, or it is too much.
    """

    names = [service.catalog.check(name) for name in (ask.model, ask.tilt) if name is not None]
    check_options(ask.options, service.limits)
    with service.shelf.taken(*names) as models:
        model = models[0]
        if ask.tilt is not None:
            from dgmcore.compose.tilted import tilt

            model = tilt(model, models[-1], ask.weight).requires_grad_(False)
        check_size(ask.n, tuple(model.event_shape), service.limits)
        yield model


def data_of(service: Service, model: Model, ask: AskData) -> Tensor:
    """Returns the data of a question, `(n, *event_shape)` in the range of the model's.

    Raises:
        DgmError: If they are none.
    """

    import numpy as np
    import torch

    from dgmcore.data.images import to_range
    from dgmcore.sampling import model_range

    shape = tuple(model.event_shape)
    if (ask.data is None) == (ask.pixels is None):
        raise UsageError("the request has no data, or has them twice", "give data or pixels")
    if ask.pixels is not None:
        try:
            array = np.frombuffer(base64.b64decode(ask.pixels, validate=True), np.uint8).reshape(-1, *shape)
        except (ValueError, binascii.Error):
            raise DataError("the pixels are not those of such images", f"base64 of bytes (n, {shape})") from None
        x = to_range(torch.from_numpy(array.copy()), model_range(model) or (-1.0, 1.0))
    else:
        try:
            array = np.asarray(ask.data)
            if array.dtype.kind not in "biuf":  # texts would become numbers
                raise TypeError(array.dtype)
            with np.errstate(over="ignore"):  # what is not finite is refused by whoever judges it
                x = torch.from_numpy(array.astype(np.float32))
        except (TypeError, ValueError, OverflowError):
            raise DataError("the data are no array of numbers", f"give (n, {shape}) numbers") from None
        if x.ndim == 1 and len(x) and len(x) % math.prod(shape) == 0:
            x = x.view(-1, *shape)
        if tuple(x.shape[1:]) != shape:
            raise DataError(f"data of shape {tuple(x.shape)} don't fit the model", f"give (n, {shape}) numbers")
    if not len(x):
        raise DataError("there are no data in the request", "give at least one")
    check_size(len(x), shape, service.limits)
    return x
