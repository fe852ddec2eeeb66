"""Checks on training phases, with a trial step in place of the engine."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch
from torch import Tensor

from dgmcore.config import parse
from dgmcore.sampling.stream_noise import StreamNoise

from ..subject import Subject
from .base import Skip, registry

CHECKS, check = registry()

_BATCH = 8
_DRAWS = 8  # different batches: a model that draws by a long chain would take minutes for a hundred


@check()
def phases_are_typed(it: Subject) -> None:
    """Every phase imports, its options have defaults or are strict, and its optimisers have parameters."""

    for name, phase in _phases(it).items():
        groups = {k: list(v) for k, v in phase.parameters().items()}
        assert set(groups) == set(phase.optimizers), f"phase {name}: parameters() gives {sorted(groups)}"
        for optimizer, parameters in groups.items():
            assert parameters, f"phase {name}: the optimiser {optimizer} has no parameters"


@check()
def one_step_lowers_the_loss(it: Subject) -> None:
    """For each loss of each phase, a small step along its gradient lowers it, other things equal."""

    for name, phase in _phases(it).items():
        phase.setup(TrialStep(it, phase))
        trial = Trial(it, phase)
        losses = trial.run()
        assert losses, f"phase {name}: step() never calls step.minimize"
        for number, (value, optimizer) in enumerate(losses):
            where = f"phase {name}, optimiser {optimizer}"
            assert math.isfinite(value), f"{where}: the loss is {value}"
            grads = trial.gradients(number)
            norm = math.sqrt(sum(float(g.double().square().sum()) for _, g in grads))
            assert norm > 0, f"{where}: the loss has no gradient in the optimiser's parameters"
            after = [trial.run(grads, d / norm)[number][0] for d in (1e-2, 1e-3, 1e-4)]
            assert min(after) < value, (
                f"{where}: a step along the gradient took the loss {value:.6g} to {after[-1]:.6g}"
            )


class Trial:
    """Runs one step of a phase again and again from the same state, with the same batch and noise."""

    def __init__(self, it: Subject, phase: Any):
        self.it, self.phase = it, phase
        self.weights = copy.deepcopy(phase.model.state_dict())
        self.state = copy.deepcopy(phase.state())
        if hasattr(phase, "negatives"):  # the model's own samples move with its weights, but no gradient knows that
            phase.negatives = _always_the_first(phase.negatives)

    def run(
        self,
        moves: list[tuple[Tensor, Tensor]] | None = None,
        distance: float = 0.0,
        on_loss: Callable[[int, Tensor, str], None] | None = None,
    ) -> list[tuple[float, str]]:
        """Moves parameters by `-distance * gradient`, does a step, returns its losses and their optimisers."""

        self.phase.model.load_state_dict(self.weights)
        self.phase.restore(copy.deepcopy(self.state))
        with torch.no_grad():
            for parameter, gradient in moves or []:
                parameter.sub_(gradient, alpha=distance)
        step = TrialStep(self.it, self.phase, on_loss)
        with torch.random.fork_rng(devices=[]):  # dropout draws from the global state: the same every time
            torch.manual_seed(0)
            self.phase.step(step)
        return step.losses

    def gradients(self, number: int) -> list[tuple[Tensor, Tensor]]:
        """Returns the parameters and gradients of loss number `number` of the step."""

        found: list[tuple[Tensor, Tensor]] = []

        def collect(i: int, loss: Tensor, optimizer: str) -> None:
            if i == number:
                parameters = [p for p in self.phase.parameters()[optimizer] if p.requires_grad]
                grads = torch.autograd.grad(loss, parameters, allow_unused=True)
                found.extend((p, g) for p, g in zip(parameters, grads, strict=True) if g is not None)

        self.run(on_loss=collect)
        return found


class TrialStep:
    """A step with a fixed batch and fixed noise that records losses and moves nothing."""

    def __init__(self, it: Subject, phase: Any, on_loss: Callable[[int, Tensor, str], None] | None = None):
        self.index, self.total, self.progress = 0, 1000, 0.0
        self.device = it.model.device
        self.losses: list[tuple[float, str]] = []
        self._it, self._phase, self._on_loss, self._batches = it, phase, on_loss, 0
        self._stream = StreamNoise(11, _BATCH, device=it.model.device, dtype=it.model.dtype)

    def batch(self) -> Tensor:
        self._batches += 1
        return self._it.data(_BATCH, seed=100 + self._batches % _DRAWS)

    def labels(self) -> Tensor:
        return torch.arange(_BATCH, device=self.device) % int(getattr(self._it.model.config, "classes", 2))

    def noise(self, n: int | None = None) -> StreamNoise:
        return self._stream.with_n(_BATCH if n is None else n)

    def minimize(self, loss: Tensor, optimizer: str = "model", *, retain_graph: bool = False) -> None:
        if self._on_loss is not None:
            self._on_loss(len(self.losses), loss, optimizer)
        self.losses.append((float(loss.detach()), optimizer))

    def optimizer(self, name: str = "model") -> torch.optim.Optimizer:
        return torch.optim.Adam(list(self._phase.parameters()[name]))

    def log(self, **values: Any) -> None:
        pass


def _always_the_first(function: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Returns a function that gives the results of the first call of `function` whenever it is called."""

    kept: list[Tensor] = []

    def first(*args: Any) -> Tensor:
        if not kept:
            kept.append(function(*args))
        return kept[0]

    return first


def _phases(it: Subject) -> dict[str, Any]:
    """Builds every phase of the model on a fresh copy in train mode."""

    if not it.model.phases:
        raise Skip("the model has no training phases")
    built = {}
    for name, target in it.model.phases.items():
        module, _, attribute = target.partition(":")
        cls = getattr(import_module(module), attribute)
        model = it.fresh().train()
        built[name] = cls(model, parse(cls.Options, {}, source=f"options of phase {name}"))
    return built
