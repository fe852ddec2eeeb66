"""Optimisers and learning rates."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

from dgmcore.errors import TrainingError

from ..recipe import Optimizer, Schedule

__all__ = ["flatten_state", "learning_rate", "make_optimizer", "restore_state"]

_KINDS = {
    "adam": (torch.optim.Adam, ("betas", "eps")),
    "adamw": (torch.optim.AdamW, ("betas", "eps")),
    "adamax": (torch.optim.Adamax, ("betas", "eps")),
    "rmsprop": (torch.optim.RMSprop, ("eps", "momentum")),
    "sgd": (torch.optim.SGD, ("momentum",)),
}
_FUSED = ("adam", "adamw", "sgd")


def make_optimizer(spec: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the optimiser that a recipe describes, in torch's fused form where there is one."""

    kind, known = _KINDS[spec.name]
    arguments = {"lr": spec.lr, "weight_decay": spec.weight_decay}
    for key in ("betas", "eps", "momentum"):
        value = getattr(spec, key)
        if value is None:
            continue
        if key not in known:
            raise TrainingError(
                f"the optimiser {spec.name} has no {key}", f"it has: lr, weight_decay, {', '.join(known)}"
            )
        arguments[key] = value
    parameters = list(parameters)
    if not parameters:
        raise TrainingError("an optimiser has no parameters to train", "check that the phase's part is not frozen")
    if spec.name in _FUSED and all(p.is_floating_point() and p.device.type in ("cpu", "cuda") for p in parameters):
        arguments["fused"] = True
    return kind(parameters, **arguments)


def learning_rate(schedule: Schedule, base: float, step: int, total: int | None, progress: float) -> float:
    r"""Returns the learning rate of a step.

    Arguments:
        schedule: A linear warm-up over `warmup` steps, then a constant; a cosine or a line from `base` at the
            end of the warm-up to `final` at the end of the phase; or `base` times a factor every so many steps.
        base: The optimiser's own learning rate.
        step: The step's number from 0.
        total: The number of steps of the phase, or None if its budget is in minutes.
        progress: Where that is None: the share of the time that is used.
    """

    if step < schedule.warmup:
        return base * (step + 1) / schedule.warmup
    if schedule.name == "constant":
        return base
    if schedule.name == "step":
        return base * schedule.factor ** (step // (schedule.every or 1))
    if total is not None:
        progress = (step - schedule.warmup) / max(1, total - schedule.warmup)
    if schedule.name == "cosine":
        progress = (1 - math.cos(math.pi * progress)) / 2
    return base + (schedule.final - base) * progress


def flatten_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns an optimiser's state as tensors named `INDEX.KEY`."""

    return {
        f"{i}.{key}": value
        for i, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }


def restore_state(optimizer: torch.optim.Optimizer, tensors: dict[str, Tensor]) -> None:
    """Takes back what :func:`flatten_state` returned, in the memory layout of the parameters."""

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        i, _, key = name.partition(".")
        like = parameters[int(i)]
        if value.shape == like.shape and value.ndim:
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state.setdefault(int(i), {})[key] = value
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
