"""The options `--given`, `--mask`, `--operator` and `--sigma`: what they mean."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from dgmcore.errors import DataError, UsageError
from dgmcore.loading.load import load
from dgmcore.model import Model
from dgmcore.plugins.provided import provided
from dgmcore.sampling.pictures import kind_of
from dgmcore.sampling.settings import model_name, model_range

from . import operators
from .observation import Label, Observation

__all__ = ["SIGMA", "observations"]

#: Of what is seen, where nobody says: of points, in their units; of pictures, as a share of the range of their values.
SIGMA = 0.1
PICTURE_SIGMA = 0.025

T = TypeVar("T")

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d+)?"
_COORDINATE = re.compile(rf"\s*x(?P<index>\d{{1,6}})\s*=\s*(?P<value>{_NUMBER})\s*")
_LABEL = re.compile(r"label=(?P<label>[^@]+)(?:@(?P<classifier>.+))?")


def observations(
    model: Model,
    given: Sequence[str],
    *,
    operator: Sequence[str] = (),
    mask: Sequence[str] = (),
    sigma: Sequence[float] = (),
) -> list[Observation | Label]:
    """Returns what texts say was seen of a model's data.

    Arguments:
        model: The model.
        given: `x0=0.5` (`x0=0.5,x1=2`), `label=3`, `label=3@CLASSIFIER`, a picture, or a `.npy` file.
        operator: None, one for all pictures and arrays, or one for each of them.
        mask: The same, of pictures that are white where something is known.
        sigma: None, one for all, or one for each but labels.

    Raises:
        UsageError: If a text says nothing, or does not fit the model.
        DataError: If a file can't be read.
    """

    files = [text for text in given if not _COORDINATE.match(text) and not _LABEL.fullmatch(text)]
    noisy = [text for text in given if not _LABEL.fullmatch(text)]
    each_operator = _each(operator, len(files), "--operator")
    each_mask = _each(mask, len(files), "--mask")
    each_sigma = _each([_positive(s) for s in sigma], len(noisy), "--sigma")
    found: list[Observation | Label] = []
    for text in given:
        labelled = _LABEL.fullmatch(text)
        if labelled:
            found.append(_label(model, labelled["label"], labelled["classifier"]).fit(model))
            continue
        s = each_sigma.pop(0)
        if _COORDINATE.match(text):
            found.append(_coordinates(model, text, SIGMA if s is None else s).fit(model))
        else:
            found.append(_file(model, text, each_operator.pop(0), each_mask.pop(0), s).fit(model))
    return found


def _each(values: Sequence[T], n: int, option: str) -> list[T | None]:
    if not values:
        return [None] * n
    if not n:
        raise UsageError(f"{option} says something of a --given that is not there", f"leave out {option}")
    if len(values) not in (1, n):
        raise UsageError(f"{len(values)} times {option} for {n} times --given", "give it once, or once for each")
    return list(values) * (n if len(values) == 1 else 1)


def _positive(value: float) -> float:
    if not 0 < value < float("inf"):
        raise UsageError(f"--sigma {value:g} is no deviation", "give a number above 0")
    return value


# --- points and labels ------------------------------------------------------------------------------


def _coordinates(model: Model, text: str, sigma: float) -> Observation:
    shape = tuple(model.event_shape)
    if kind_of(shape) == "image":
        raise UsageError(f"--given {text}: the model's data are images", "give a picture")
    places: list[int] = []
    values: list[float] = []
    for part in text.split(","):
        found = _COORDINATE.fullmatch(part)
        if found is None:
            raise UsageError(f"--given {text}: {part!r:.40} is no coordinate", "write for example x0=0.5,x1=-2")
        places.append(int(found["index"]))
        values.append(float(found["value"]))
    size = int(np.prod(shape))
    if max(places) >= size:
        raise UsageError(f"--given {text}: the data have {size} coordinates", f"they are x0 to x{size - 1}")
    if len(set(places)) < len(places):
        raise UsageError(f"--given {text} names a coordinate twice", "name it once")
    return Observation(values, operators.coordinates(places), sigma=sigma, what=text)


def _label(model: Model, text: str, classifier: str | None) -> Label:
    entry = model.entry
    if classifier is None:
        record = provided().features.get(entry.data.dataset) if entry is not None else None
        if record is None:
            raise UsageError(
                f"--given label={text}: no classifier is known for the data of {model_name(model)}",
                "name one, such as label=3@lenet-fashion",
            )
        classifier = record.entry
    judge = load(classifier, device=model.device, dtype=model.dtype)
    if not re.fullmatch(r"\d{1,6}", text):
        raise UsageError(f"--given label={text:.40}: classes are numbers", "write for example label=3")
    return Label(int(text), judge, model_range(model), what=f"label={text}@{classifier}")


# --- files -----------------------------------------------------------------------------------------


def _file(model: Model, text: str, operator: str | None, mask: str | None, sigma: float | None) -> Observation:
    path = Path(os.path.expanduser(text))
    limits = model_range(model)
    if sigma is None:
        sigma = SIGMA if limits is None else PICTURE_SIGMA * (limits[1] - limits[0])
    if mask is not None and operator is not None:
        raise UsageError("--mask and --operator both say what is seen", "leave out one of them")
    if path.suffix.lower() == ".npy":
        y, known = torch.from_numpy(operators.read_array(text, "--given y.npy")), None
    elif path.suffix.lower() in (".png", ".jpg", ".jpeg"):
        y, known = _picture(path, model, operator)
    else:
        raise UsageError(
            f"--given {text:.80} says nothing that can be seen",
            "give x0=0.5, label=3, a PNG or JPEG picture, or a .npy file",
        )
    if mask is not None:
        white = _mask(Path(os.path.expanduser(mask)), tuple(y.shape))
        known = white if known is None else white & known
    elif known is not None and operator is not None:
        raise UsageError(f"{text} has transparent pixels", "--operator is for a picture that is known wholly")
    return Observation(y, operator, mask=known, sigma=sigma, what=text)


def _picture(path: Path, model: Model, operator: str | None) -> tuple[Tensor, Tensor | None]:
    """Returns a picture in the model's range, `(C, H, W)`, and where it is opaque, if it has transparent pixels."""

    shape = tuple(model.event_shape)
    if kind_of(shape) != "image":
        raise UsageError(
            f"--given {path}: the model's data are no images", "give x0=0.5, or a .npy file with linear:A.npy"
        )
    wanted = shape
    if operator is not None:
        probe = torch.zeros(1, *shape)
        wanted = tuple(operators.build(operator, shape)(probe).shape[1:])
    if len(wanted) not in (2, 3) or (len(wanted) == 3 and wanted[0] not in (1, 3)):
        raise UsageError(f"{operator} shows no picture", "give a .npy file")
    mode = "RGB" if len(wanted) == 3 and wanted[0] == 3 else "L"
    pixels, alpha = _pixels(path, wanted[-2:], mode)
    low, high = model_range(model) or (-1.0, 1.0)
    values = torch.from_numpy(pixels).double() * ((high - low) / 255) + low
    values = values.permute(2, 0, 1) if mode == "RGB" else values.reshape(wanted)
    return values, None if alpha is None else torch.from_numpy(alpha)


def _pixels(path: Path, size: tuple[int, ...], mode: str) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the pixels of a picture of a size, uint8, and its opaque pixels, bool, where some are transparent."""

    image = _open(path)
    if (image.height, image.width) != size:
        raise DataError(
            f"{path} has {image.width} x {image.height} pixels, what is seen has {size[1]} x {size[0]}",
            "give a picture of that size",
        )
    alpha = None
    if "A" in image.getbands() or "transparency" in image.info:
        opaque = np.asarray(image.convert("RGBA"))[..., 3] >= 128
        alpha = None if opaque.all() else opaque
    return np.array(image.convert("RGB").convert(mode)), alpha


def _mask(path: Path, shape: tuple[int, ...]) -> Tensor:
    if len(shape) < 2:
        raise UsageError(f"--mask {path}: what is seen is no picture", "leave out --mask")
    image = _open(path)
    if (image.height, image.width) != shape[-2:]:
        raise DataError(
            f"the mask {path} has {image.width} x {image.height} pixels, the picture {shape[-1]} x {shape[-2]}",
            "give a mask of that size, white where the picture is known",
        )
    return torch.from_numpy(np.array(image.convert("L")) >= 128)


def _open(path: Path) -> Image.Image:
    import io

    from dgmcore.plugins import call

    try:
        image = Image.open(io.BytesIO(call("read_file")(path)), formats=["PNG", "JPEG"])
        if image.width * image.height > 1 << 24:
            raise DataError(f"{path} has {image.width} x {image.height} pixels", "make it smaller")
        if image.format == "PNG" and getattr(image, "n_frames", 1) > 1:
            raise DataError(f"{path} is an animation", "give one of its pictures")
        image = ImageOps.exif_transpose(image)  # upright, as every reader of pictures makes them
    except DataError:
        raise
    except Exception as e:  # Pillow says many things about damaged files
        reason = "it is no PNG or JPEG" if isinstance(e, UnidentifiedImageError) else (str(e).splitlines() or ["?"])[0]
        raise DataError(f"{path} can't be read: {reason}", "give a PNG or JPEG picture") from None
    if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off above 255
        image = Image.fromarray(((np.asarray(image).astype(np.int64) * 255 + 32767) // 65535).astype(np.uint8))
    return image
