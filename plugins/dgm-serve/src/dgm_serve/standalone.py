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
from torch import Tensor

from dgmcore.errors import UsageError
from dgmcore.model import Model
from dgmcore.registry.listing import info
from dgmcore.sampling import model_range, sample
from dgmcore.sampling.draw import first_states
from dgmcore.sampling.pictures.density import density_behind
from dgmcore.sampling.pictures.pixels import kind_of, thinned, to_uint8, write_png
from dgmcore.sampling.pictures.scatter import window_of

from .api.noise_space import pad_name, pad_noise

__all__ = ["standalone"]

PAGE = Path(__file__).parent / "page"
SCRIPTS = ("dom.js", "draw.js", "pad.js", "alone.js")
MOST = 3 * 64 * 64  # numbers of a datum
EDGE = 3.0  # of the pad, in standard deviations
PAD, SAMPLES, POINTS, MOVING, FRAMES = 21, 36, 2000, 16, 24


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
    data: dict[str, Any] = {
        "name": entry["name"],
        "kind": kind,
        "shape": list(shape),
        "command": f"dgm sample {entry['name']} -n {count} --seed {seed}",
        "samples": _packed(x, model),
    }
    if model.can("pushforward") and pad_name(model) is not None:
        data["pad"] = {"side": PAD, "edge": EDGE, "x": _packed(_pad(model), model)}
    if model.can("trajectory"):
        n = MOVING if kind == "image" else 500
        frames = thinned((state for state in first_states(model, n, seed=seed)), FRAMES // 2)
        data["frames"] = [_packed(frame, model) for frame in frames]
    if shape == (2,):
        window = window_of(x.numpy(), 0.2)
        values = density_behind(model, window)
        if values is not None:
            coded = base64.b64encode(to_uint8(values[None], (0.0, 1.0)).tobytes()).decode()
            square = {"x": window.x, "y": window.y, "side": window.side}
            data["density"] = {"grid": len(values), "values": coded, **square, "likelihood": entry["likelihood"]}
    return _page(entry, data)


def _pad(model: Model) -> Tensor:
    at = torch.linspace(-EDGE, EDGE, PAD).tolist()
    with torch.no_grad():
        return model.push(pad_noise(model, [(x, y) for y in reversed(at) for x in at]))


def _packed(x: Tensor, model: Model) -> str:
    """Returns points as base64 of float32, images as a PNG in which they are below each other."""

    x = x.detach().cpu().float()
    if kind_of(tuple(model.event_shape)) == "point":
        return base64.b64encode(np.ascontiguousarray(x.numpy()[:, :2], "<f4").tobytes()).decode()
    pixels = to_uint8(x, model_range(model))
    file = io.BytesIO()
    write_png(pixels.reshape(-1, *pixels.shape[2:]), file)
    return base64.b64encode(file.getvalue()).decode()


def _page(entry: dict[str, Any], data: dict[str, Any]) -> str:
    facts = [entry["family"], entry["dataset"], entry["license"], f"likelihood: {entry['likelihood']}"]
    script = "\n".join(_plain_script((PAGE / name).read_text("utf-8")) for name in SCRIPTS)
    parts = {
        "name": html.escape(entry["name"]),
        "summary": html.escape(entry["summary"]),
        "facts": "".join(f"<span>{html.escape(str(f))}</span>" for f in facts if f and not str(f).endswith("None")),
        "style": (PAGE / "style.css").read_text("utf-8"),
        "data": json.dumps(data).replace("<", "\\u003c"),
        "script": script,
    }
    template = (PAGE / "alone.html").read_text("utf-8")
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], template)


def _plain_script(text: str) -> str:
    """A module without what makes it one, to stand in one script with others."""
    return re.sub(r"^import .*?;\n", "", re.sub(r"^export ", "", text, flags=re.M), flags=re.M | re.S)
