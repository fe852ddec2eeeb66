"""Writes what a model computes as an ONNX graph, and checks that graph against the model.

A graph draws no random numbers: a sampler's inputs are the Gaussian noise that the model is a map of.
"""

from __future__ import annotations

import contextlib
import copy
import io
import json
import logging
import os
import re
import warnings
from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, Literal, cast

import msgspec
import numpy as np
import torch
from torch import Tensor, nn

from dgmcore.compose.nested import flatten, unflatten
from dgmcore.errors import DgmError, UsageError
from dgmcore.files.atomic import replacing
from dgmcore.interfaces import Likelihood, Pushforward
from dgmcore.model import Model
from dgmcore.noise import IndexedNoise
from dgmcore.sampling.settings import model_name, model_range

from .tracing import stand_ins

__all__ = ["KINDS", "Exported", "export_onnx", "kinds_of"]

Kind = Literal["sampler", "score", "log-prob", "encode", "features"]
KINDS: tuple[Kind, ...] = ("sampler", "score", "log-prob", "encode", "features")

#: How much the graph's outputs may differ from the model's, for each unit of the largest output.
TOLERANCE = 1e-5
_BATCH = 3  # data that the graph is traced and checked with; it takes any number


class Exported(msgspec.Struct):
    """What was written.

    Attributes:
        file: Where.
        kind: What the graph computes.
        inputs: Its inputs by name, each without the number of data.
        outputs: Names of its outputs.
        difference: The largest difference from the model's own outputs, for each unit of the largest; None where
            onnxruntime is not installed, so that nobody has looked.
        precision: Of the model that it was compared with: float64 where the model in float32 differs from that, and so
            from the graph, by more than the graph may.
    """

    file: str
    kind: str
    inputs: dict[str, list[int]]
    outputs: list[str]
    difference: float | None
    precision: str = "float32"


class _Sampler(nn.Module):
    """Noise to samples, as the model's sampling defaults have it, cut to the range of its data."""

    def __init__(self, model: Model):
        super().__init__()
        chosen = model.sampling()
        self.model, self.limits = model, model_range(model)
        self.names = list(flatten(cast(Pushforward, model).noise_shapes))
        temperature = float(getattr(chosen, "temperature", 1.0))
        self.scales = [1.0 if name == "x" else temperature for name in self.names]
        if getattr(chosen, "mean", False) is True:
            self.scales = [0.0 if name == "x" else s for name, s in zip(self.names, self.scales, strict=True)]

    def forward(self, *eps: Tensor) -> Tensor:
        scaled = [e if s == 1.0 else s * e for e, s in zip(eps, self.scales, strict=True)]
        x = cast(Pushforward, self.model).push(unflatten(dict(zip(self.names, scaled, strict=True))))
        return x if self.limits is None else x.clamp(*self.limits)


class _Method(nn.Module):
    """One method of a model as a module."""

    def __init__(self, model: Model, method: str):
        super().__init__()
        self.model, self.method = model, method

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        found = getattr(self.model, self.method)(x)
        return tuple(flatten(found).values()) if isinstance(found, dict) else found


_METHODS = {"score": "score", "log-prob": "log_prob", "encode": "encode", "features": "features"}
_CAN = {"sampler": "pushforward", "score": "critic", "log-prob": "density", "encode": "encoder", "features": "features"}


def kinds_of(model: Model) -> list[Kind]:
    """Returns what of a model can be written, the most usual first; a density only if no random numbers are in it."""

    exact = model.can("density") and (
        model.likelihood == Likelihood.EXACT
        or (model.likelihood == Likelihood.UNNORMALIZED and "noise" not in signature(model.log_prob).parameters)
    )
    return [kind for kind in KINDS if model.can(_CAN[kind]) and (kind != "log-prob" or exact)]


def export_onnx(model: Model, path: str | os.PathLike[str], kind: Kind | None = None) -> Exported:
    """Writes a model's sampler, score, density, encoder or features as ONNX, for any number of data.

    Where onnxruntime is installed the graph is run beside the model, and nothing is written if they differ by more than
    1e-5 for each unit of the largest output, and it from the model in float64 too.

    Arguments:
        model: A loaded model.
        path: The file.
        kind: What of it; None takes the first that it can.

    Raises:
        UsageError: If the model can't do it, or what writes ONNX is not installed.
        DgmError: If it can't be written as a graph, or the graph's outputs are others.
    """

    possible = kinds_of(model)
    if not possible or (kind is not None and kind not in possible):
        what = f"{model_name(model)} can't be written as {kind or 'ONNX'}"
        raise UsageError(what, f"it can: {', '.join(possible)}" if possible else "it is no map without random numbers")
    kind = kind or possible[0]
    _require()
    model = copy.deepcopy(model).to("cpu").eval()
    module = _Sampler(model) if kind == "sampler" else _Method(model, _METHODS[kind])
    names, inputs = _inputs(model, kind)
    with torch.no_grad():
        found = module(*inputs)
    outputs = ["y"] if isinstance(found, Tensor) else [f"y{i}" for i in range(len(found))]
    graph = _traced(model, module, names, inputs, outputs)
    difference, precision = _difference(graph, module, model, kind, names), "float32"
    if difference is not None and difference > TOLERANCE and torch.float64 in model.dtypes:
        difference, precision = _difference(graph, module.double(), model, kind, names), "float64"
    if difference is not None and not difference <= TOLERANCE:
        what = f"the graph of {model_name(model)} differs from the model by {difference:.3g} for each unit"
        raise DgmError(what, "nothing was written: this operation is not exact in ONNX")
    with replacing(path) as file:
        file.write(graph)
    shapes = {name: list(x.shape[1:]) for name, x in zip(names, inputs, strict=True)}
    return Exported(os.fspath(path), kind, shapes, outputs, difference, precision)


def _require() -> None:
    try:
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError:
        raise UsageError("ONNX needs onnx and onnxscript", "pip install 'dgm-export[onnx]'") from None


def _inputs(model: Model, kind: Kind, seed: int = 0, n: int = _BATCH) -> tuple[list[str], tuple[Tensor, ...]]:
    """Returns the names of a graph's inputs, and some: noise, or data in the model's range."""

    noise = IndexedNoise(seed, n)
    if kind == "sampler":
        leaves = flatten(noise.named(cast(Pushforward, model).noise_shapes))
        return [name.replace("/", "_") for name in leaves], tuple(leaf.to(model.dtype) for leaf in leaves.values())
    x, limits = noise.normal(*model.event_shape), model_range(model)
    if limits is not None:
        low, high = limits
        x = x.mul(0.3 * (high - low)).add((low + high) / 2).clamp(low, high)
        if model.base_measure == "counting" and model.data_levels:
            step = (high - low) / (model.data_levels - 1)
            x = (x - low).div(step).round().mul(step).add(low)
    return ["data"], (x.to(model.dtype),)


def _traced(model: Model, module: nn.Module, names: list[str], inputs: tuple[Tensor, ...], outputs: list[str]) -> bytes:
    """Returns the graph's bytes; the exporter's talk is kept from the terminal."""

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    batch = torch.export.Dim("batch", min=1, max=65536)
    shapes = tuple({0: batch} for _ in inputs)
    about: dict[str, Any] = {"input_names": names, "output_names": outputs, "external_data": False, "verbose": False}
    dynamic = (shapes,) if isinstance(module, _Sampler) else shapes
    try:
        quiet = contextlib.redirect_stdout(io.StringIO())
        with warnings.catch_warnings(), quiet, torch.no_grad(), stand_ins(module, inputs):
            warnings.simplefilter("ignore")
            program: Any = torch.onnx.export(module.eval(), inputs, dynamic_shapes=dynamic, **about)
    except Exception as e:  # the exporter says many things
        what = f"{model_name(model)} can't be written as a graph: {_said(e)}"
        hint = "some of its operations have no counterpart in ONNX: export another part, with --part"
        raise DgmError(what, hint) from e
    proto = program.model_proto
    proto.doc_string = json.dumps({"model": model_name(model), "made by": "dgm export"})
    graph: bytes = proto.SerializeToString()
    return graph


def _said(e: Exception) -> str:
    """Returns the line of an exporter's error that says most: its cause, without colours."""

    cause: BaseException = e
    while cause.__cause__ is not None:
        cause = cause.__cause__
    lines = [line.strip() for line in re.sub("\x1b\\[[0-9;]*m", "", str(cause)).splitlines() if line.strip()]
    return (lines or [type(cause).__name__])[0][:200]


def _difference(graph: bytes, module: nn.Module, model: Model, kind: Kind, names: list[str]) -> float | None:
    """Returns the largest difference of the graph's outputs from the model's, on other inputs and another number."""

    run = _session(graph)
    if run is None:
        return None
    worst = 0.0
    for seed, n in ((1, _BATCH), (2, 5)):
        _, inputs = _inputs(model, kind, seed, n)  # in float64 the same numbers, widened
        with torch.no_grad():
            expected = module(*inputs)
        wanted = [expected] if isinstance(expected, Tensor) else list(expected)
        try:
            found = run({name: x.float().numpy() for name, x in zip(names, inputs, strict=True)})
        except Exception as e:  # onnxruntime's own
            what = f"the graph of {model_name(model)} does not run with {n} data: {_said(e)}"
            raise DgmError(what, "nothing was written: the model's code depends on their number") from e
        for a, b in zip(wanted, found, strict=True):
            scale = max(1.0, float(a.abs().max()))
            worst = max(worst, float(np.abs(a.numpy().astype(np.float64) - b).max()) / scale)
    return worst


def _session(graph: bytes) -> Callable[[dict[str, np.ndarray]], list[np.ndarray]] | None:
    try:
        import onnxruntime
    except ImportError:
        return None
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    wanted = {i.name for i in session.get_inputs()}
    return lambda feeds: session.run(None, {k: v for k, v in feeds.items() if k in wanted})


def default_path(model: Model, kind: str) -> Path:
    """Returns the name of the file where nobody gives one."""

    return Path(f"{model_name(model)}-{kind}.onnx")
