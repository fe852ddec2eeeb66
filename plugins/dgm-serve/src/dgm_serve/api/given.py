"""Completions of a picture of which a part is known, where a plugin provides the call `given`."""

from __future__ import annotations

import base64
import binascii
import tempfile
from pathlib import Path
from typing import Annotated, Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from dgmcore.config import Positive
from dgmcore.errors import DataError, UsageError

from ..catalog import calls
from ..limits import check_options
from .answers import floats
from .asking import AskData, data_of, read, service_of

__all__ = ["given"]


class AskGiven(AskData):
    """A picture, and a byte for each of its pixels, row by row: 0 where it is not known."""

    mask: str = ""
    n: Annotated[int, msgspec.Meta(ge=1, le=16)] = 3
    sigma: Positive | None = None


async def given(request: Request) -> Response:
    """`POST /api/given`: completions of a picture, `(n, *event_shape)`: samples of the model given what is known."""

    service, ask = service_of(request), await read(request, AskGiven)

    def work() -> Response:
        import numpy as np
        import torch
        from PIL import Image

        import dgmcore
        from dgmcore.sampling import model_range, stream

        if "given" not in calls():
            raise UsageError("no plugin completes pictures", "pip install dgm-given")
        check_options(ask.options, service.limits)
        with service.shelf.taken(service.catalog.check(ask.model)) as (model,), tempfile.TemporaryDirectory() as folder:
            picture, mask = Path(folder) / "picture.npy", Path(folder) / "mask.png"
            height, width = _height_and_width(tuple(model.event_shape))
            np.save(picture, data_of(service, model, ask)[0].numpy())
            Image.fromarray(_mask(ask.mask, height, width)).save(mask)
            named: dict[str, Any] = {"mask": [str(mask)]} | ({} if ask.sigma is None else {"sigma": [ask.sigma]})
            asked = dgmcore.given(model, str(picture), **named)
            asked.requires_grad_(False)
            x = torch.cat(list(stream(asked, ask.n, seed=ask.seed, options=ask.options)))
            command = f"dgm sample {ask.model} -n {ask.n} --seed {ask.seed} --given picture.png --mask mask.png"
            return floats(x, range=model_range(model), command=command)

    return await service.desk.run(request, work)


def _height_and_width(shape: tuple[int, ...]) -> tuple[int, int]:
    if len(shape) < 2:
        raise UsageError("the model's data are no pictures", "choose a model of pictures")
    return shape[-2], shape[-1]


def _mask(text: str, height: int, width: int) -> Any:
    import numpy as np

    try:
        known = np.frombuffer(base64.b64decode(text, validate=True), np.uint8).reshape(height, width) != 0
        return known.astype(np.uint8) * 255
    except (ValueError, binascii.Error):
        raise DataError("the mask is not that of such a picture", f"base64 of {height * width} bytes") from None
