"""The run of one phase, from its first step or from a checkpoint to its last."""

from __future__ import annotations

import threading
import time
from contextlib import nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from dgmcore.data.view import View
from dgmcore.errors import TrainingError
from dgmcore.model import Model

from ..build import build_phase
from ..recipe import PhaseRecipe, Recipe
from . import checkpoint
from .distributed import Processes
from .log import Log
from .optim import flatten_state, make_optimizer, restore_state
from .step import Diverged, EngineStep, seed_global
from .stream import Stream
from .watch import Watch, load_averaged

__all__ = ["PhaseRun", "Run"]

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


@dataclass
class Run:
    """What all phases of a run share."""

    recipe: Recipe
    model: Model
    data: View
    validation: View | None
    folder: Path
    processes: Processes
    log: Log | None = None  # of the main process
    stop: threading.Event = field(default_factory=threading.Event)
    seconds: float = 0.0  # used by the phases that are done
    steps: int = 0  # done in the phases that are done
    averaged: dict[str, bool] = field(default_factory=dict)  # by module: whether its weights are an average

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


class PhaseRun:
    """A phase in a run.

    Arguments:
        run: The run.
        number: The phase's number.
        state: A checkpoint's tensors and JSON, if the run goes on in this phase.
    """

    def __init__(self, run: Run, number: int, state: tuple[dict[str, Any], dict[str, Any]] | None = None):
        self.run, self.number = run, number
        self.recipe: PhaseRecipe = run.recipe.phases[number]
        self.total = self.recipe.steps
        if self.recipe.epochs is not None:
            self.total = round(self.recipe.epochs * len(run.data) / self.recipe.batch_size)
        self.limit = None if self.recipe.minutes is None else self.recipe.minutes * 60
        self.done, self.seconds, self.best = 0, 0.0, None
        self.scope = f"{number}:{self.recipe.phase}"
        self.ema: torch.optim.swa_utils.AveragedModel | None = None
        run.model.train()
        self.phase = build_phase(run.model, self.recipe)
        if self.recipe.channels_last:
            run.model.to(memory_format=torch.channels_last)
        self.averaged = self.phase.averaged()
        if state is not None:
            checkpoint.load_into(run.model, checkpoint.under("model.", state[0]), "the checkpoint")
        else:
            run.processes.start_equal([run.model])
        self.step = self._make_step()
        self.watch = Watch(self)
        if state is None:
            self._set_up()
        else:
            self._restore(*state)

    def _make_step(self) -> EngineStep:
        run, recipe, processes = self.run, self.recipe, self.run.processes
        stream = Stream(
            run.data,
            recipe.batch_size,
            seed=run.recipe.seed,
            scope=self.scope,
            rank=processes.rank,
            world=processes.world,
            device=processes.device,
        )
        groups = self.phase.parameters()
        for name in recipe.optimizers:
            if name not in groups:
                raise TrainingError(
                    f"the phase {recipe.phase} has no optimiser {name}", f"its optimisers: {', '.join(groups)}"
                )
        optimizers = {n: make_optimizer(recipe.optimizers.get(n, recipe.optimizer), p) for n, p in groups.items()}
        seed = run.recipe.seed
        return EngineStep(
            self.phase, recipe, stream, optimizers, processes, seed=seed, scope=self.scope, total=self.total
        )

    def _set_up(self) -> None:
        seed_global(self.run.recipe.seed, f"{self._place('setup')}/global", self.run.processes.device)
        self.step.start(0, 0.0, "setup")
        with self._autocast():
            self.phase.setup(self.step)
        self.step.meter.read()
        self.run.processes.start_equal([self.run.model])

    def _place(self, step: Any) -> str:
        return f"{self.scope}/{step}/{self.run.processes.rank}"

    def _autocast(self) -> Any:
        dtype = DTYPES.get(self.recipe.precision)
        return torch.autocast(self.run.processes.device.type, dtype) if dtype else nullcontext()

    # --- steps ---------------------------------------------------------------------------------

    def go(self) -> None:
        """Runs the phase to its end, and leaves its (averaged) weights in the model."""

        started = time.monotonic() - self.seconds
        saved = time.monotonic()
        with self.watch:
            while not self._finished():
                try:
                    self._one_step()
                    now = time.monotonic()
                    self.seconds, stop, save = self._decide(now - started, now - saved)
                    self.watch.after_step(now)
                    if save or stop:
                        self.save()
                        saved = time.monotonic()
                except Diverged as e:
                    raise self._lost(e) from None
                if stop:
                    what = f"stopped at step {self.done} of {self.recipe.phase}, checkpoint written"
                    raise TrainingError(f"{self.run.recipe.name}: {what}", "go on with --resume")
        try:
            self.save()
        except Diverged as e:
            raise self._lost(e) from None
        self._finish()

    def _finished(self) -> bool:
        return self.done >= self.total if self.limit is None else self.seconds >= self.limit

    def _one_step(self) -> None:
        index, device = self.done, self.run.processes.device
        share = index / max(1, self.total) if self.limit is None else self.seconds / max(self.limit, 1e-9)
        self.step.start(index, min(share, 1.0))
        # the global generator is dropout's, and of modules that are not ours
        seed_global(self.run.recipe.seed, f"{self._place(index)}/global", device)
        with self._autocast():
            self.phase.step(self.step)
        self.run.processes.average_buffers(self.run.model)
        if self.recipe.ema is not None and index >= self.recipe.ema_from:
            if self.ema is None:
                self.ema = self._make_ema()
            self.ema.update_parameters(self.averaged)
        self.done = index + 1

    def _decide(self, seconds: float, since_saved: float) -> tuple[float, bool, bool]:
        """Returns the seconds used, whether to stop and whether to save: as the main process says."""

        recipe, every = self.run.recipe, self.run.recipe.checkpoint_steps
        save = since_saved > recipe.checkpoint_minutes * 60 or bool(every and self.done % every == 0)
        agreed = self.run.processes.agree([seconds, self.run.stop.is_set(), save])
        return agreed[0], bool(agreed[1]), bool(agreed[2])

    def _make_ema(self) -> torch.optim.swa_utils.AveragedModel:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(self.recipe.ema)
        return torch.optim.swa_utils.AveragedModel(self.averaged, multi_avg_fn=average).requires_grad_(False)

    def _finish(self) -> None:
        best = self.run.checkpoints / f"best-{self.number:02d}.safetensors"
        if self.recipe.keep == "best" and self.best is not None:
            checkpoint.load_into(self.run.model, checkpoint.read(best)[0], "the best checkpoint")
        elif self.ema is not None:
            load_averaged(self.averaged, self.ema)
        names = {id(module): name for name, module in self.run.model.named_modules()}
        self.run.averaged[names.get(id(self.averaged), "")] = self.ema is not None
        self.phase.finish()
        self.step.stream.close()
        self.run.seconds += self.seconds
        self.run.steps += self.done

    def _lost(self, e: Diverged) -> TrainingError:
        last = checkpoint.last_checkpoint(self.run.checkpoints)
        where = f"the last good checkpoint is {last}" if last else "there was no checkpoint yet"
        return TrainingError(
            f"{self.run.recipe.name}: {e} at step {self.done} of {self.recipe.phase}; {where}",
            "--resume with a lower learning rate or clipped gradients, as --set phases.0.clip_norm=1",
        )

    # --- checkpoints -----------------------------------------------------------------------------

    def save(self) -> None:
        """Writes a checkpoint; raises `Diverged` if the weights are not worth it."""

        self.step.check_weights()
        run = self.run
        tensors = {f"model.{k}": v for k, v in checkpoint.state_of(run.model).items()}
        tensors |= {f"phase.{k}": v for k, v in self.phase.state().items()}
        for name, optimizer in self.step.optimizers.items():
            tensors |= {f"optimizer.{name}/{k}": v for k, v in flatten_state(optimizer).items()}
        if self.ema is not None:
            tensors |= {f"ema.{k}": v for k, v in checkpoint.state_of(self.ema.module).items()}
        meta = {
            "phase": self.number,
            "step": self.done,
            "position": self.step.stream.position,
            "seconds": self.seconds,
            "best": self.best,
            "averages": None if self.ema is None else int(self.ema.n_averaged),
            "scaler": None if self.step.scaler is None else self.step.scaler.state_dict(),
            "run": {"seconds": run.seconds, "steps": run.steps, "averaged": run.averaged},
        }
        checkpoint.write_shared(run.checkpoints, run.processes, tensors, meta)

    def _restore(self, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        self.done, self.seconds, self.best = meta["step"], meta["seconds"], meta["best"]
        self.step.stream.position = meta["position"]
        for name, optimizer in self.step.optimizers.items():
            restore_state(optimizer, checkpoint.under(f"optimizer.{name}/", tensors))
        if meta["averages"] is not None and self.recipe.ema is not None:
            self.ema = self._make_ema()
            checkpoint.load_into(self.ema.module, checkpoint.under("ema.", tensors), "the checkpoint")
            self.ema.n_averaged.fill_(meta["averages"])
        if self.step.scaler is not None and meta["scaler"]:
            self.step.scaler.load_state_dict(meta["scaler"])
        self.phase.restore(checkpoint.under("phase.", tensors))
