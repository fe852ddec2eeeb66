"""Recipes of toys (:mod:`training_models`) for the tests of training, and what their runs leave."""

from __future__ import annotations

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from safetensors.torch import load_file

FIT = {"phase": "fit", "batch_size": 64, "steps": 8, "optimizer": {"lr": 0.05}}
BLOB = {
    "schema": 1,
    "name": "blob",
    "architecture": "train-blob",
    "data": {"dataset": "25gaussians"},
    "phases": [FIT],
    "license": "CC0-1.0",
}


def recipe(*phases: dict[str, Any], base: dict[str, Any] = BLOB, **changes: Any) -> dict[str, Any]:
    return {**deepcopy(base), **changes, **({"phases": [{**FIT, **p} for p in phases]} if phases else {})}


def weights(folder):
    return load_file(folder / "model.safetensors")


def log(name="blob"):
    return [json.loads(line) for line in Path(f"runs/{name}/log.jsonl").read_text().splitlines()]
