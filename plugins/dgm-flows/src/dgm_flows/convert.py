r"""Converters of the weights that Ruthotto and Haber and the authors of OT-Flow publish.

Their files name tensors as torch's own layers do:

- Real NVP, R&H: `layers.{k}.{s,t}.{0,2,4}.{weight,bias}`; layer `k` keeps the coordinates of its parity.
- OT-Flow: `A`, `c.weight`, `c.bias`, `w.weight`, `N.layers.{i}.{weight,bias}`, alone (R&H) or with the
  arguments of the training run, an `argparse.Namespace`.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from dgmcore.conversion.converters import Converted, options_of, read_checkpoint, tensors_of
from dgmcore.errors import UsageError, WeightsError

__all__ = ["detect", "otflow", "rh_otflow", "rh_realnvp"]

_RH = "Copyright (c) 2021 Lars Ruthotto, github.com/EmoryMLIP/DeepGenerativeModelingIntro"
_OT = "Copyright (c) 2020 EmoryMLIP, github.com/EmoryMLIP/OT-Flow"

_REVIEW = {"title": "An Introduction to Deep Generative Modeling", "url": "https://arxiv.org/abs/2103.05180"}
_OTFLOW = {
    "title": "OT-Flow: Fast and Accurate Continuous Normalizing Flows via Optimal Transport",
    "url": "https://arxiv.org/abs/2006.00104",
}


def rh_realnvp(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts R&H's Real NVP, `trainRealNVP.pt`.

    Options:
        dataset: What it was trained on; `moons` by default.
    """

    dataset = options_of(options, dataset="moons")["dataset"]
    state = tensors_of(read_checkpoint(_one(files)))
    layers = len({key.split(".")[1] for key in state if re.fullmatch(r"layers\.\d+\..*", key)})
    if not layers:
        raise WeightsError(f"{files[0]} holds no Real NVP: no tensor layers.0.s.0.weight", _HINT)
    hidden, dim = _take(state, "layers.0.s.0.weight", 2, keep=True).shape
    converted = {}
    for name, number in (("first", 0), ("second", 2), ("third", 4)):
        nets = [[f"layers.{k}.{net}.{number}" for net in "st"] for k in range(layers)]
        weights = [torch.stack([_take(state, f"{net}.weight", 2) for net in pair]) for pair in nets]
        biases = [torch.stack([_take(state, f"{net}.bias", 1) for net in pair]) for pair in nets]
        converted[f"{name}_weight"] = torch.stack(weights)
        converted[f"{name}_bias"] = torch.stack(biases)[:, :, None]
    _all_taken(state, files[0])
    return Converted(
        architecture="realnvp",
        config={"dim": dim, "layers": layers, "hidden": hidden},
        state=converted,
        license="MIT",
        data={"dataset": dataset, "event_shape": [dim]},
        summary=f"Real NVP as published by Ruthotto and Haber, {dataset}",
        papers=[_REVIEW],
        notes=[_RH],
    )


def rh_otflow(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts R&H's OT-Flow, with or without the arguments of its run.

    Options:
        dataset: What it was trained on; `moons` by default.
        steps: Runge-Kutta steps of samples and densities; by default the run's validation steps, else 8.
    """

    return _otflow(files, options, "moons", _RH, "Ruthotto and Haber")


def otflow(files: list[Path], options: dict[str, Any]) -> Converted:
    """Converts a checkpoint of the OT-Flow repository, `*_checkpt.pth`.

    Options:
        dataset: What it was trained on; by default what its run says.
        steps: Runge-Kutta steps of samples and densities; by default the run's validation steps, else 8.
    """

    return _otflow(files, options, None, _OT, "its authors")


def detect(files: list[Path]) -> str | None:
    """Tells the two OT-Flow formats apart: the repository's checkpoints hold the arguments of their run."""

    checkpoint = read_checkpoint(_one(files), allow=(argparse.Namespace,))
    if "A" in tensors_of(checkpoint):
        return "otflow" if "args" in checkpoint else "rh-otflow"
    return None


def _otflow(files: list[Path], options: dict[str, Any], dataset: str | None, notice: str, who: str) -> Converted:
    given = options_of(options, dataset=None, steps=None)
    checkpoint = read_checkpoint(_one(files), allow=(argparse.Namespace,))
    run = checkpoint.get("args")
    run = dict(run) if isinstance(run, Mapping) else vars(run) if isinstance(run, argparse.Namespace) else {}
    state = tensors_of(checkpoint)
    if "A" not in state:
        raise WeightsError(f"{files[0]} holds no OT-Flow: no tensor A", _HINT)
    layers = len({key for key in state if re.fullmatch(r"N\.layers\.\d+\.weight", key)})
    if layers < 2:
        raise WeightsError(f"{files[0]} has {layers} layers N.layers.i, an OT-Flow has 2 or more", _HINT)
    dim, width = state["A"].shape[1] - 1, len(_take(state, "N.layers.0.bias", 1, keep=True))
    names = {"A": "A", "c.weight": "b", "c.bias": "c", "w.weight": "w"}
    for i in range(layers):
        ours = "opening" if i == 0 else f"residual.{i - 1}"
        names |= {f"N.layers.{i}.{kind}": f"{ours}.{kind}" for kind in ("weight", "bias")}
    converted = {f"potential.{ours}": _take(state, theirs) for theirs, ours in names.items()}
    for key in ("potential.b", "potential.w"):  # published as matrices of one row
        converted[key] = converted[key].reshape(-1)
    _all_taken(state, files[0])
    transport = float((run.get("alph") or [1.0])[0])
    dataset = given["dataset"] or dataset or run.get("data") or "moons"
    return Converted(
        architecture="otflow",
        config={"dim": dim, "width": width, "layers": layers, "transport": transport},
        state=converted,
        license="MIT",
        data={"dataset": dataset, "event_shape": [dim]},
        summary=f"OT-Flow as published by {who}, {dataset}",
        sampling={"steps": int(given["steps"] or run.get("nt_val") or 8)},
        papers=[_REVIEW] if notice == _RH else [_OTFLOW],
        notes=[notice],
    )


_HINT = "choose the --format that made this file; see docs/families/flows.md"


def _one(files: list[Path]) -> Path:
    if len(files) != 1:
        raise UsageError(f"this format is one file, not {len(files)}", "give one checkpoint")
    return Path(files[0])


def _take(state: dict[str, Tensor], key: str, ndim: int | None = None, *, keep: bool = False) -> Tensor:
    """Takes a tensor out of `state`, in float32."""

    if key not in state:
        raise WeightsError(f"the checkpoint has no tensor {key}", _HINT)
    value = state[key] if keep else state.pop(key)
    if ndim is not None and value.ndim != ndim:
        raise WeightsError(f"{key} has the shape {list(value.shape)}, not {ndim} dimensions", _HINT)
    return value.detach().float()


def _all_taken(state: dict[str, Tensor], file: Path) -> None:
    if state:
        raise WeightsError(f"{file} has tensors that this format does not know: {', '.join(sorted(state)[:4])}", _HINT)
