"""Optimisers, and their state in checkpoints."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from dgmcore.errors import TrainingError
from dgmcore.suggestions import did_you_mean

from ..recipe import Optimizer, PhaseRecipe

__all__ = ["flatten_state", "make_optimizer", "make_optimizers", "restore_state"]

_KINDS: dict[str, tuple[type[torch.optim.Optimizer], tuple[str, ...]]] = {
    "adam": (torch.optim.Adam, ("betas", "eps")),
    "adamw": (torch.optim.AdamW, ("betas", "eps")),
    "adamax": (torch.optim.Adamax, ("betas", "eps")),
    "rmsprop": (torch.optim.RMSprop, ("eps", "momentum")),
    "sgd": (torch.optim.SGD, ("momentum",)),
}
_FUSED = ("adam", "adamw", "sgd")


def make_optimizers(
    recipe: PhaseRecipe, groups: Mapping[str, Iterable[nn.Parameter]]
) -> dict[str, torch.optim.Optimizer]:
    """Returns the optimiser of each of a phase's groups of parameters, by name."""

    for name in recipe.optimizers:
        if name not in groups:
            raise TrainingError(f"the phase {recipe.phase} has no optimiser {name}", did_you_mean(name, groups))
    return {name: make_optimizer(recipe.optimizers.get(name, recipe.optimizer), p) for name, p in groups.items()}


def make_optimizer(spec: Optimizer, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
    """Returns the optimiser that a recipe describes, in torch's fused form where there is one."""

    kind, known = _KINDS[spec.name]
    arguments: dict[str, Any] = {"lr": spec.lr, "weight_decay": spec.weight_decay}
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


def flatten_state(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Returns an optimiser's state as tensors named `INDEX.KEY`."""

    return {
        f"{i}.{key}": value
        for i, entry in optimizer.state_dict()["state"].items()
        for key, value in entry.items()
        if isinstance(value, Tensor)
    }


def restore_state(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
    """Takes back what :func:`flatten_state` returned, in the memory layout of the parameters.

    Raises:
        TrainingError: If it is the state of other parameters, or of an optimiser with other arguments.
    """

    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    needed = _needed(optimizer)
    state: dict[int, dict[str, Tensor]] = {}
    for name, value in tensors.items():
        i, _, key = name.partition(".")
        like = parameters[int(i)] if int(i) < len(parameters) else None
        if like is None or (value.ndim and value.shape != like.shape):
            raise TrainingError(
                "the checkpoint's optimiser moved other parameters", "change the recipe back, or start a new run"
            )
        if value.ndim:
            value = torch.empty_like(like, dtype=value.dtype).copy_(value)
        state.setdefault(int(i), {})[key] = value
    for entry in state.values():
        if lacking := needed - set(entry):
            raise TrainingError(
                f"the checkpoint's optimiser has no {sorted(lacking)[0]}: its arguments were others",
                "change the recipe's optimizer back, or start a new run",
            )
    optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})


def _needed(optimizer: torch.optim.Optimizer) -> set[str]:
    """Returns the names of the tensors without which an optimiser can't go on; SGD starts a missing momentum anew."""

    if isinstance(optimizer, torch.optim.RMSprop):
        return {"step", "square_avg", *(["momentum_buffer"] if optimizer.defaults["momentum"] else [])}
    if isinstance(optimizer, torch.optim.Adamax):
        return {"step", "exp_avg", "exp_inf"}
    return set() if isinstance(optimizer, torch.optim.SGD) else {"step", "exp_avg", "exp_avg_sq"}
