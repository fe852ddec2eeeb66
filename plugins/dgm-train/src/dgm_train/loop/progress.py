"""How far a run is: the part of a checkpoint that is no tensor."""

from __future__ import annotations

from typing import Any, Literal

import msgspec

__all__ = ["NOISE", "Circumstances", "Progress", "Totals"]


#: The version of the noise of what is trained anew; a run that goes on keeps that with which it began.
NOISE = 2


class Totals(msgspec.Struct, kw_only=True):
    """What the phases that are done add up to."""

    seconds: float = 0.0
    steps: int = 0
    noise: Literal[1, 2] = 1  # the version of the model's noise; checkpoints from before there were two say none
    averaged: dict[str, bool] = {}  # by module: whether its weights are an average
    legs: list[str] = []  # where the run went on by another recipe, and what was changed


class Circumstances(msgspec.Struct, kw_only=True):
    """What the numbers of a :class:`Progress` were counted with."""

    phase: str
    batch_size: int
    data: int  # in an epoch
    optimizers: dict[str, str]  # the kind of each


class Progress(msgspec.Struct, kw_only=True):
    """How far a run is in its phase number `phase`.

    The loop is the only one to change it; everything that watches a run reads it here.
    """

    phase: int
    step: int = 0  # steps done
    seen: int = 0  # data of those steps, one batch each
    position: int = 0  # batches drawn
    seconds: float = 0.0
    best: float | None = None  # the lowest validation loss
    averages: int | None = None  # how often the average was updated; None: there is none yet
    scaler: dict[str, Any] | None = None  # of fp16: the loss's scale
    run: Totals = msgspec.field(default_factory=Totals)  # the phases before
    counted: Circumstances | None = None  # None in checkpoints of earlier versions
