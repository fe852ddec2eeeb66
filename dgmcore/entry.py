"""The registry entry: everything that `model.yaml` may say.

Only msgspec is imported here: listing models needs no torch.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec

from .config import Config

__all__ = ["SCHEMA", "Data", "Entry", "HubFile", "Metric", "Paper", "Training", "Weights"]

SCHEMA = 1

Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9-]*$", max_length=100)]
Sha256 = Annotated[str, msgspec.Meta(pattern=r"^[0-9a-f]{64}$")]
FileName = Annotated[
    str, msgspec.Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*$", max_length=200)
]
Repo = Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+$", max_length=200)]


class HubFile(Config):
    """A file on the Hub. `revision` is a commit, a tag or a branch.

    `trust` says what to do where the entry knows no sha256: refuse the file, or record the sha256 that the Hub states
    at the first fetch, and hold every later one to it.
    """

    repo: Repo
    file: FileName = "model.safetensors"
    revision: str | None = None
    trust: Literal["sha256", "first-fetch"] = "sha256"


class Weights(Config):
    """Where the weights are and what they must be. `ema` says whether they are an average."""

    file: FileName = "model.safetensors"
    sha256: Sha256 | None = None
    size: int | None = None
    hub: HubFile | None = None
    ema: bool = False
    parameters: int | None = None
    layout: str = "dgmcore"  # or what the architecture's `tensor_names` knows: names of another library's files


class Data(Config):
    """The data that a model stands for; images have their channels first."""

    dataset: str
    event_shape: tuple[int, ...]
    range: tuple[float, float] | None = None  # None: unbounded
    levels: int | None = None  # 256 for 8-bit images


class Metric(Config):
    """One measurement with its protocol; records with other protocols can't be compared."""

    name: str
    value: float
    n: int | None = None
    n_real: int | None = None
    unit: str | None = None
    features: str | None = None
    features_sha256: Sha256 | None = None
    resize: int | None = None
    against: str | None = None
    sampling: dict[str, Any] = {}
    seed: int | None = None
    weights: str | None = None  # "ema" or "raw"
    floor: float | None = None  # real against real, same protocol
    std: float | None = None
    command: str | None = None


class Training(Config):
    """How the weights came to be."""

    recipe: str | None = None
    seed: int | None = None
    steps: int | None = None
    hardware: str | None = None
    hours: float | None = None
    source: dict[str, Any] = {}  # converted weights: file, sha256, format, url


class Paper(Config):
    title: str
    url: str | None = None
    authors: str | None = None
    year: int | None = None


class PartSpec(Config):
    """A part that is this model's own; its weights are in the model's file."""

    architecture: str
    config: dict[str, Any] = {}
    parts: dict[str, str | PartSpec] = {}


class Entry(Config):
    """One model of the registry (design: registry entries)."""

    schema: int
    name: Name
    architecture: str
    license: str
    data: Data
    summary: str = ""
    config: dict[str, Any] = {}
    parts: dict[str, str | PartSpec] = {}  # an entry's name (weights shared) or an own part
    weights: Weights | None = None
    sampling: dict[str, Any] = {}
    metrics: tuple[Metric, ...] = ()
    training: Training | None = None
    papers: tuple[Paper, ...] = ()
    tags: tuple[str, ...] = ()
