"""What a phase shows while it trains: log, progress, validation, pictures."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from dgmcore.noise import IndexedNoise

from ..finish import draw_picture
from . import checkpoint

if TYPE_CHECKING:
    from .run import PhaseRun

__all__ = ["Watch", "in_eval", "load_averaged"]

LOG_STEPS, LOG_SECONDS = 50, 15.0
SHOW_SECONDS = 0.2
VALIDATION_DATA, VALIDATION_BATCH = 10_000, 500


class Watch:
    """Watches a phase; the main process writes."""

    def __init__(self, phase_run: PhaseRun):
        self.it, self.run = phase_run, phase_run.run
        self.main = self.run.processes.main
        self._bar: AbstractContextManager | None = None
        self._shown = self._logged = 0.0
        self._at = 0.0
        self._values: dict[str, float] = {}

    def __enter__(self) -> Watch:
        if self.main:
            from dgmcore.console import progress

            unit = "steps" if self.it.limit is None else "s"
            label = f"{self.run.recipe.name}: {self.it.recipe.phase.rpartition(':')[2]}"
            self._bar = progress(label, self.it.limit or self.it.total, unit)
            self._advance = self._bar.__enter__()
            self._advance(self._now())
            self._at = self._now()
        return self

    def __exit__(self, *error: Any) -> None:
        self._write()
        if self._bar is not None:
            self._show()
            self._bar.__exit__(*error)

    def _now(self) -> float:
        return self.it.done if self.it.limit is None else min(self.it.seconds, self.it.limit)

    def after_step(self, now: float) -> None:
        """Does what is due after a step, at the time `now`."""

        it, recipe = self.it, self.run.recipe
        if it.done % LOG_STEPS == 0:
            it.step.look()
        if it.done % LOG_STEPS == 0 or it.done == 1 or now - self._logged > LOG_SECONDS:
            self._write()
            self._logged = now
        if self._bar is not None and now - self._shown > SHOW_SECONDS:
            self._show()
            self._shown = now
        if recipe.validate_every and it.done % recipe.validate_every == 0:
            self._validate()
        if recipe.samples_every and it.done % recipe.samples_every == 0 and self.main:
            self._draw()

    def _show(self) -> None:
        it = self.it
        fields: dict[str, Any] = {} if it.limit is None else {"step": it.done}
        fields |= it.step.last or {k: v for k, v in self._values.items() if k.startswith("loss")}
        self._advance(self._now() - self._at, **fields)
        self._at = self._now()

    def _write(self) -> None:
        values = self.it.step.meter.read()
        if values:
            self._values = values
            rates = {
                "lr" if len(self.it.step.optimizers) == 1 else f"lr_{name}": optimizer.param_groups[0]["lr"]
                for name, optimizer in self.it.step.optimizers.items()
            }
            self._record({**values, **rates, "progress": self.it.step.progress})

    def _record(self, values: dict[str, float]) -> None:
        if self.run.log is not None:
            self.run.log.write(self.it.number, self.it.recipe.phase, self.it.done, self.it.seconds, values)

    @torch.no_grad()
    def _validate(self) -> None:
        """Measures the phase's loss on held-out data, each process on its share, and keeps the best weights."""

        data, it, processes = self.run.validation, self.it, self.run.processes
        if data is None:
            return
        n = min(len(data), VALIDATION_DATA)
        share = range(processes.rank * VALIDATION_BATCH, n, processes.world * VALIDATION_BATCH)
        total, count = 0.0, 0
        with in_eval(self.run.model, it.averaged, it.ema):
            for start in share:
                x = data.take(np.arange(start, min(start + VALIDATION_BATCH, n))).to(processes.device)
                noise = IndexedNoise(self.run.recipe.seed, len(x), start, device=x.device, scope="validation")
                losses = it.phase.validate(x, noise)
                if losses is None:
                    return
                total, count = total + float(losses.double().sum()), count + len(x)
            loss = processes.mean(total) / processes.mean(count)
            self._record({"validation": loss})
            if it.best is None or loss < it.best:
                it.best = loss
                if self.main:
                    path = self.run.checkpoints / f"best-{it.number:02d}.safetensors"
                    meta = {"phase": it.number, "step": it.done, "validation": loss}
                    checkpoint.write(path, checkpoint.state_of(self.run.model), meta)

    def _draw(self) -> None:
        path = self.run.folder / "samples" / f"{self.it.number:02d}-{self.it.done:09d}.png"
        with in_eval(self.run.model, self.it.averaged, self.it.ema):
            drawn = draw_picture(self.run.model, path, self.run.recipe.seed)
        if drawn and self.run.log is not None:
            self.run.log.picture(self.it.recipe.phase, self.it.done, path)


@contextmanager
def in_eval(
    model: nn.Module, averaged: nn.Module | None = None, ema: torch.optim.swa_utils.AveragedModel | None = None
) -> Iterator[None]:
    """The model in eval mode, with its averaged weights if there are any, for a while."""

    modes = {module: module.training for module in model.modules()}
    kept = None
    if ema is not None and averaged is not None:
        kept = {name: tensor.clone() for name, tensor in averaged.state_dict().items()}
        load_averaged(averaged, ema)
    try:
        model.eval()
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        if kept is not None and averaged is not None:
            averaged.load_state_dict(kept)


def load_averaged(module: nn.Module, ema: torch.optim.swa_utils.AveragedModel) -> None:
    """Copies the averaged weights into the module that they are the average of."""

    module.load_state_dict(ema.module.state_dict())
