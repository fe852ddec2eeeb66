"""Recipes: what `dgm train` reads."""

from __future__ import annotations

from typing import Any, Literal

from dgmcore.config import Config
from dgmcore.data.spec import DataSpec
from dgmcore.entry import Name, Paper

__all__ = ["Optimizer", "PartRecipe", "PhaseRecipe", "Recipe", "Schedule"]


class Optimizer(Config):
    """An optimiser of torch.optim by name, with its arguments."""

    name: Literal["adam", "adamw", "adamax", "rmsprop", "sgd"] = "adam"
    lr: float = 1e-3
    betas: tuple[float, float] | None = None
    eps: float | None = None
    weight_decay: float = 0.0
    momentum: float | None = None


class Schedule(Config):
    """Learning rate: `warmup` linear steps, then constant, cosine to `final`, or by factors at milestones."""

    name: Literal["constant", "cosine", "linear", "step"] = "constant"
    warmup: int = 0
    final: float = 0.0  # absolute learning rate at the end of cosine and linear
    every: int | None = None  # step: multiply by `factor` every so many steps
    factor: float = 0.5


class PhaseRecipe(Config):
    """One phase: which of the architecture's phases, its options, and its budget."""

    phase: str
    options: dict[str, Any] = {}
    batch_size: int = 128
    steps: int | None = None  # one of steps, epochs and minutes
    epochs: float | None = None
    minutes: float | None = None
    optimizer: Optimizer = Optimizer()
    optimizers: dict[str, Optimizer] = {}  # for phases with several, by name; others take `optimizer`
    schedule: Schedule = Schedule()
    clip_norm: float | None = None
    clip_value: float | None = None
    ema: float | None = None  # decay; None: no average
    ema_from: int = 0  # first averaged step
    keep: Literal["last", "best"] = "last"  # at the end: the last weights, or the best by validation
    precision: Literal["fp32", "bf16", "fp16"] = "fp32"
    channels_last: bool = False


class PartRecipe(Config):
    """A part that is trained here; `save_as` makes it an entry of its own."""

    architecture: str
    config: dict[str, Any] = {}
    parts: dict[str, str | PartRecipe] = {}
    init: str | None = None  # an entry whose weights it starts from
    save_as: Name | None = None


class Recipe(Config):
    """A training run from data to a registry entry."""

    schema: int
    name: Name
    architecture: str
    data: DataSpec
    phases: tuple[PhaseRecipe, ...]
    license: str
    summary: str = ""
    config: dict[str, Any] = {}
    parts: dict[str, str | PartRecipe] = {}
    init: str | None = None  # an entry whose weights the model starts from
    seed: int = 0
    threads: int | None = None
    checkpoint_minutes: float = 2.0
    checkpoint_steps: int | None = None
    samples_every: int | None = None  # a grid of samples every so many steps
    validate_every: int | None = None
    validation: DataSpec | None = None
    sampling: dict[str, Any] = {}
    papers: tuple[Paper, ...] = ()
    tags: tuple[str, ...] = ()
