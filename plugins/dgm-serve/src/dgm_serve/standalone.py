"""One small model as a page of its own: everything that it shows was computed when it was written."""

from __future__ import annotations

import base64
import html
import io
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from dgmcore.calls.listing import info
from dgmcore.console import printable
from dgmcore.errors import UsageError
from dgmcore.model import Model
from dgmcore.sampling import model_range, sample
from dgmcore.sampling.draw import first_states
from dgmcore.sampling.pictures.density import density_behind
from dgmcore.sampling.pictures.pixels import kind_of, thinned, to_uint8
from dgmcore.sampling.pictures.scatter import window_of
from dgmcore.sampling.settings import require_finite

from .api.answers import window
from .api.noise_space import pad_name, pad_noise

__all__ = ["standalone"]

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("dom.js", "draw.js", "pad.js", "alone.js")
MOST = 3 * 64 * 64  # numbers of a datum
EDGE = 3.0  # of the pad, in standard deviations
PAD, SAMPLES, POINTS, MOVING, FRAMES = 21, 36, 2000, 16, 24
GAP = 1  # pixels between pictures


def standalone(model: Model, name: str, seed: int = 0) -> str:
    """Returns a page of a model: its pad if its noise is a plane, samples, its way to them, its density in the plane.

    Arguments:
        model: A generator of points or small pictures.
        name: What it was loaded by.
        seed: Of the samples.

    Raises:
        UsageError: If it draws nothing, or nothing that can be shown.
    """

    shape = tuple(model.event_shape)
    if not model.can("generator") or kind_of(shape) is None:
        raise UsageError(f"{name} draws nothing that a page could show", "choose another: dgm list --can generator")
    if math.prod(shape) > MOST:
        raise UsageError(f"pictures of {'x'.join(map(str, shape))} are too large for a page", "use dgm serve")
    entry = info(name)
    kind = kind_of(shape)
    count = SAMPLES if kind == "image" else POINTS
    x = sample(model, count, seed=seed)
    samples = {"x": _packed(x, model), "command": f"dgm sample {entry['name']} -n {count} --seed {seed}"}
    data: dict[str, Any] = {"kind": kind, "samples": samples | _around(x)}
    if model.can("pushforward") and pad_name(model) is not None:
        made = _pad(model)
        width, height = (shape[-1], shape[-2]) if kind == "image" else (0, 0)
        data["pad"] = {"side": PAD, "x": _packed(made, model, PAD), "cell": [width, height, GAP], **_around(made)}
    if model.can("trajectory"):
        n = MOVING if kind == "image" else 500
        states = thinned((state for state in first_states(model, n, seed=seed)), FRAMES // 2)
        data["way"] = {"states": [_packed(state, model) for state in states], **_around(states[-1])}
    if shape == (2,):
        values = density_behind(model, window_of(x.numpy(), 0.1))
        if values is not None:
            samples["density"] = {"grid": len(values), "values": _coded(values)}
            data["samples"] |= samples
    return _page(entry, data)


def _pad(model: Model) -> Tensor:
    at = torch.linspace(-EDGE, EDGE, PAD).tolist()
    with torch.no_grad():
        return model.push(pad_noise(model, [(x, y) for y in reversed(at) for x in at]))


def _around(x: Tensor) -> dict[str, Any]:
    """The square around points."""
    return window(x[:, :2]) if x.ndim == 2 else {}


def _packed(x: Tensor, model: Model, columns: int | None = None) -> str:
    """Returns points as base64 of float32, images as a PNG in which they are side by side.

    Raises:
        NotFiniteError: If a number is not finite, as where a decoder overflows at the edge of the pad.
    """

    require_finite(x, "what the page would show", "choose another model: nothing was written")
    x = x.detach().cpu().float()
    if kind_of(tuple(model.event_shape)) == "point":
        return _coded(x.numpy()[:, :2])
    pixels = to_uint8(x, model_range(model))
    columns = columns or math.ceil(math.sqrt(len(pixels)))
    height, width = pixels.shape[1:3]
    sheet = np.zeros((math.ceil(len(pixels) / columns), height + GAP, columns, width + GAP, 4), np.uint8)
    for i, one in enumerate(pixels):
        sheet[i // columns, :height, i % columns, :width] = np.concatenate(
            [one] * (3 // one.shape[-1]) + [np.full_like(one[..., :1], 255)], -1
        )
    file = io.BytesIO()
    Image.fromarray(sheet.reshape(len(sheet) * (height + GAP), -1, 4)[:-GAP, :-GAP]).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


def _coded(x: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(x, "<f4").tobytes()).decode()


def _page(entry: dict[str, Any], data: dict[str, Any]) -> str:
    facts = [entry["family"], entry["dataset"], entry["license"]]
    facts += [f"likelihood: {entry['likelihood']}"] if entry["likelihood"] else []
    script = "\n".join(_plain_script((PAGE / name).read_text("utf-8")) for name in SCRIPTS)
    parts = {
        "name": html.escape(entry["name"]),
        "summary": html.escape(printable(entry["summary"])),
        "facts": "".join(f"<span>{html.escape(printable(fact))}</span>" for fact in facts if fact),
        "style": (PAGE / "style.css").read_text("utf-8"),
        "data": json.dumps(data).replace("<", "\\u003c"),
        "script": script,
    }
    template = (PAGE / "alone.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _plain_script(text: str) -> str:
    """A module without what makes it one, to stand in one script with others."""
    return re.sub(r"^import .*?;\n", "", re.sub(r"^export ", "", text, flags=re.M), flags=re.M | re.S)
