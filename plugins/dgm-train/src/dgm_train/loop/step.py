"""One training step, as the engine gives it to a phase (:class:`dgmcore.training.phase.Step`)."""

from __future__ import annotations

from contextlib import nullcontext
from typing import Any

import torch
from torch import Tensor

from dgmcore.errors import TrainingError
from dgmcore.noise import StreamNoise, derive_seed
from dgmcore.training.phase import Phase

from ..recipe import PhaseRecipe
from .distributed import Processes
from .log import Meter
from .optim import learning_rate
from .stream import Stream

__all__ = ["Diverged", "EngineStep", "seed_global"]

EXPLODED = 1e10  # a loss beyond this is lost, whatever it measures


class Diverged(Exception):
    """A loss is not finite, or has exploded."""


def seed_global(seed: int, scope: str, device: torch.device) -> None:
    """Seeds torch's global generator of a device, which dropout and modules of others draw from.

    It does what `torch.manual_seed` does, which takes a millisecond where CUDA is not initialised.
    """

    seed = derive_seed(seed, scope)
    torch.default_generator.manual_seed(seed)
    if device.type == "cuda":
        torch.cuda.manual_seed(seed)


class EngineStep:
    """A step; the engine moves it on with :meth:`start`."""

    def __init__(
        self,
        phase: Phase,
        recipe: PhaseRecipe,
        stream: Stream,
        optimizers: dict[str, torch.optim.Optimizer],
        processes: Processes,
        *,
        seed: int,
        scope: str,
        total: int | None,
    ):
        self.phase, self.recipe, self.stream = phase, recipe, stream
        self.optimizers, self.processes = optimizers, processes
        self.seed, self.scope, self.total = seed, scope, total
        self.device = processes.device
        self.index, self.progress = 0, 0.0
        self.meter = Meter()
        self.scaler = torch.amp.GradScaler(self.device.type) if recipe.precision == "fp16" else None
        self._parameters = {
            name: [p for group in o.param_groups for p in group["params"]] for name, o in optimizers.items()
        }
        self._base = {name: o.param_groups[0]["lr"] for name, o in optimizers.items()}
        self._noise: StreamNoise | None = None
        self._suspicion: Tensor | None = None  # on a GPU: whether a loss so far was bad, not yet looked at
        self.last: dict[str, float] = {}  # the losses of this step, where reading them costs nothing

    def start(self, index: int, progress: float, name: str | None = None) -> None:
        """Goes to a step, whose noise depends on its number (or `name`) and this process alone."""

        self.index, self.progress, self._noise = index, progress, None
        self._place = f"{self.scope}/{index if name is None else name}/{self.processes.rank}"
        for key, optimizer in self.optimizers.items():
            rate = learning_rate(self.recipe.schedule, self._base[key], index, self.total, progress)
            for group in optimizer.param_groups:
                group["lr"] = rate

    # --- what a phase calls --------------------------------------------------------------------

    def batch(self) -> Tensor:
        x = self.stream.next()
        return x.contiguous(memory_format=torch.channels_last) if self.recipe.channels_last and x.ndim == 4 else x

    def labels(self) -> Tensor:
        return self.stream.labels()

    def noise(self, n: int | None = None) -> StreamNoise:
        if self._noise is None:
            self._noise = StreamNoise(self.seed, self.stream.size, device=self.device, scope=self._place)
        return self._noise if n is None or n == self._noise.n else self._noise.with_n(n)

    def optimizer(self, name: str = "model") -> torch.optim.Optimizer:
        if name not in self.optimizers:
            raise TrainingError(f"{type(self.phase).__name__} has no optimiser {name}", "name it in `optimizers`")
        return self.optimizers[name]

    def minimize(self, loss: Tensor, optimizer: str = "model", *, retain_graph: bool = False) -> None:
        chosen = self.optimizer(optimizer)
        parameters = self._parameters[optimizer]
        name = "loss" if len(self.optimizers) == 1 else f"loss_{optimizer}"
        self._watch(loss, name)
        chosen.zero_grad(set_to_none=True)
        # with several optimisers, a loss's gradient is for one of them only
        inputs = parameters if len(self.optimizers) > 1 else None
        full = torch.autocast(self.device.type, enabled=False) if self.recipe.precision != "fp32" else nullcontext()
        with full:
            scaled = loss if self.scaler is None else self.scaler.scale(loss)
            torch.autograd.backward(scaled, retain_graph=retain_graph, inputs=inputs)
            self.processes.average_gradients(parameters)
            if self.scaler is not None:
                self.scaler.unscale_(chosen)
            self.phase.adjust_gradients(self, optimizer)
            self._clip(parameters)
            if self.scaler is None:
                chosen.step()
            else:
                self.scaler.step(chosen)
                self.scaler.update()
        # fused optimisers don't count their changes, and layers that keep what they computed go by the count
        torch.autograd.graph.increment_version(parameters)
        if self.recipe.precision != "fp32":
            torch.clear_autocast_cache()  # it holds copies of the weights from before the step

    def log(self, **values: Any) -> None:
        for name, value in values.items():
            self.meter.add(name, value)

    # --- what the engine calls -----------------------------------------------------------------

    def _clip(self, parameters: list[torch.nn.Parameter]) -> None:
        if self.recipe.clip_value is not None:
            torch.nn.utils.clip_grad_value_(parameters, self.recipe.clip_value)
        if self.recipe.clip_norm is not None:
            self.log(grad_norm=torch.nn.utils.clip_grad_norm_(parameters, self.recipe.clip_norm))

    def _watch(self, loss: Tensor, name: str) -> None:
        if loss.ndim:
            raise TrainingError(
                f"{type(self.phase).__name__} minimises a loss of shape {tuple(loss.shape)}", "take its mean"
            )
        if self.device.type == "cpu":
            value = self.last[name] = loss.item()
            if not abs(value) < EXPLODED:
                raise Diverged(f"the loss is {value:g}")
            self.meter.add(name, value)
        else:
            self.meter.add(name, loss)
            bad = ~(loss.detach().abs() < EXPLODED)
            self._suspicion = bad if self._suspicion is None else self._suspicion | bad

    def look(self) -> None:
        """Raises if a loss was bad, where that was not looked at at once."""

        if self._suspicion is not None and bool(self._suspicion):
            raise Diverged("the loss is not finite, or has exploded")
        self._suspicion = None

    def check_weights(self) -> None:
        """Raises if a parameter that is trained here is not finite."""

        self.look()
        for parameters in self._parameters.values():
            if not bool(torch.stack([p.detach().isfinite().all() for p in parameters]).all()):
                raise Diverged("a weight is not finite")
