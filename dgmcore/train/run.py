"""The run of one phase: steps, averages, checkpoints, logs."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ..data.view import View
from ..errors import TrainingError
from ..model import Model
from ..noise import IndexedNoise
from . import checkpoint
from .building import build_phase
from .log import Log
from .optim import flatten_state, make_optimizer, restore_state
from .processes import Processes
from .recipe import PhaseRecipe, Recipe
from .step import Diverged, EngineStep, seed_global
from .stream import Stream

__all__ = ["PhaseRun", "Run", "interruptible"]

LOG_STEPS, LOG_SECONDS = 50, 15.0
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
    log: Log | None
    stop: threading.Event
    seconds: float = 0.0  # used by the phases that are done
    steps: int = 0  # done in the phases that are done
    averaged: dict[str, bool] = field(default_factory=dict)  # by module: whether its weights are an average

    @property
    def checkpoints(self) -> Path:
        return self.folder / "checkpoints"


class PhaseRun:
    """A phase, from its first step or from a checkpoint to its last.

    Arguments:
        run: The run.
        number: The phase's number.
        state: A checkpoint's tensors and JSON, if the run goes on in this phase.
    """

    def __init__(self, run: Run, number: int, state: tuple[dict[str, Any], dict[str, Any]] | None):
        self.run, self.number = run, number
        self.recipe: PhaseRecipe = run.recipe.phases[number]
        self.processes = run.processes
        model, recipe, processes = run.model, self.recipe, run.processes
        model.train()
        self.phase = build_phase(model, recipe)
        if recipe.channels_last:
            model.to(memory_format=torch.channels_last)
        self.averaged = self.phase.averaged()
        scope = f"{number}:{recipe.phase}"
        stream = Stream(
            run.data,
            recipe.batch_size,
            seed=run.recipe.seed,
            scope=scope,
            rank=processes.rank,
            world=processes.world,
            device=processes.device,
        )
        self.total = recipe.steps
        if recipe.epochs is not None:
            self.total = round(recipe.epochs * len(run.data) / recipe.batch_size)
        self.limit = None if recipe.minutes is None else recipe.minutes * 60
        self.done, self.seconds, self.best = 0, 0.0, None
        self.ema: torch.optim.swa_utils.AveragedModel | None = None
        self.scope = scope
        if state is not None:
            self._restore_model(*state)
        groups = {name: list(parameters) for name, parameters in self.phase.parameters().items()}
        odd = set(recipe.optimizers) - set(groups)
        if odd:
            raise TrainingError(
                f"the phase {recipe.phase} has no optimiser {sorted(odd)[0]}", f"it has: {', '.join(groups)}"
            )
        optimizers = {n: make_optimizer(recipe.optimizers.get(n, recipe.optimizer), p) for n, p in groups.items()}
        self.step = EngineStep(
            self.phase, recipe, stream, optimizers, processes, seed=run.recipe.seed, scope=scope, total=self.total
        )
        if state is not None:
            self._restore_rest(*state)
        else:
            self._set_up()

    def _set_up(self) -> None:
        self.processes.start_equal([self.run.model])
        seed_global(self.run.recipe.seed, f"{self.scope}/setup/{self.processes.rank}/global", self.processes.device)
        self.step.start(0, 0.0, "setup")
        self.phase.setup(self.step)
        self.step.meter.read()
        self.processes.start_equal([self.run.model])

    # --- steps ---------------------------------------------------------------------------------

    def go(self) -> None:
        """Runs the phase to its end."""

        from ..output import progress

        run, limit = self.run, self.limit
        started = time.monotonic() - self.seconds
        saved = shown = logged = time.monotonic()
        total, unit = (limit, "s") if limit is not None else (self.total, "steps")
        shown_at = 0.0
        quiet = progress if self.processes.main else lambda *a: nullcontext(lambda *a, **k: None)
        with quiet(f"{run.recipe.name}: {self.recipe.phase}", total, unit) as advance:
            advance(self.seconds if limit is not None else self.done)
            shown_at = self.seconds if limit is not None else float(self.done)
            while not self._finished():
                try:
                    self._one_step()
                    if self.done % LOG_STEPS == 0:
                        self.step.look()
                except Diverged as e:
                    raise self._lost(e) from None
                now = time.monotonic()
                self.seconds = now - started
                self.seconds, stop, save = self._decide(run.stop.is_set(), now - saved)
                if self.done % LOG_STEPS == 0 or self.done == 1 or now - logged > LOG_SECONDS:
                    self._write_log()
                    logged = now
                if now - shown > 0.2:
                    at = self.seconds if limit is not None else float(self.done)
                    fields = {"step": self.done} if limit is not None else {}
                    advance(at - shown_at, **fields, lr=self._rate(), **self._shown())
                    shown, shown_at = now, at
                if run.recipe.validate_every and self.done % run.recipe.validate_every == 0:
                    self._validate()
                if run.recipe.samples_every and self.done % run.recipe.samples_every == 0:
                    self._picture()
                if save or stop:
                    self._save()
                    saved = time.monotonic()
                if stop:
                    raise TrainingError(
                        f"{run.recipe.name}: stopped at step {self.done} of {self.recipe.phase}, checkpoint written",
                        "go on with --resume",
                    )
            advance((limit if limit is not None else self.done) - shown_at)
        self._write_log()
        try:
            self.step.check_weights()
        except Diverged as e:
            raise self._lost(e) from None
        self._finish()

    def _finished(self) -> bool:
        return self.done >= self.total if self.total is not None else self.seconds >= self.limit

    def _one_step(self) -> None:
        index = self.done
        share = index / max(1, self.total) if self.total is not None else self.seconds / max(self.limit, 1e-9)
        self.step.start(index, min(share, 1.0))
        seed_global(self.run.recipe.seed, f"{self.scope}/{index}/{self.processes.rank}/global", self.processes.device)
        dtype = DTYPES.get(self.recipe.precision)
        with torch.autocast(self.processes.device.type, dtype) if dtype else nullcontext():
            self.phase.step(self.step)
        self.processes.average_buffers(self.run.model)
        if self.recipe.ema is not None and index >= self.recipe.ema_from:
            if self.ema is None:
                self.ema = self._make_ema()
            self.ema.update_parameters(self.averaged)
        self.done = index + 1

    def _decide(self, stop: bool, since_saved: float) -> tuple[float, bool, bool]:
        """Returns the seconds used, whether to stop and whether to save: as the main process says."""

        every = self.run.recipe.checkpoint_steps
        save = since_saved > self.run.recipe.checkpoint_minutes * 60 or bool(every and self.done % every == 0)
        if self.processes.world == 1:
            return self.seconds, stop, save
        seconds, main_stop, main_save = self.processes.agree([self.seconds, stop, save])
        return seconds, bool(main_stop), bool(main_save)

    def _make_ema(self) -> torch.optim.swa_utils.AveragedModel:
        average = torch.optim.swa_utils.get_ema_multi_avg_fn(self.recipe.ema)
        return torch.optim.swa_utils.AveragedModel(self.averaged, multi_avg_fn=average).requires_grad_(False)

    def _rate(self) -> float:
        return next(iter(self.step.optimizers.values())).param_groups[0]["lr"]

    # --- logs, pictures, validation --------------------------------------------------------------

    def _shown(self) -> dict[str, float]:
        return {"loss": self.step._loss} if self.step._loss == self.step._loss else self._last_logged

    _last_logged: dict[str, float] = {}

    def _write_log(self) -> None:
        values = self.step.meter.read()
        if values and self.processes.main and self.run.log is not None:
            self._last_logged = {k: v for k, v in values.items() if k == "loss"}
            values = {**values, "lr": self._rate(), "progress": self.step.progress}
            self.run.log.write(self.number, self.recipe.phase, self.done, self.seconds, values)

    @contextmanager
    def _average_in_eval(self) -> Iterator[None]:
        """The model in eval mode with its averaged weights, for a while."""

        model = self.run.model
        kept = None
        if self.ema is not None:
            kept = {k: v.clone() for k, v in self.averaged.state_dict().items()}
            self.averaged.load_state_dict(self.ema.module.state_dict())
        try:
            with torch.no_grad():
                model.eval()
                yield
        finally:
            model.train()
            if kept is not None:
                self.averaged.load_state_dict(kept)

    def _validate(self) -> None:
        data = self.run.validation
        if data is None:
            return
        count, sum_ = 0, 0.0
        with self._average_in_eval():
            for start in range(0, min(len(data), 10_000), 500):
                index = np.arange(start, min(start + 500, len(data), 10_000))
                x = data.take(index).to(self.processes.device)
                noise = IndexedNoise(self.run.recipe.seed, len(x), start, device=x.device, scope="validation")
                losses = self.phase.validate(x, noise)
                if losses is None:
                    return
                sum_, count = sum_ + float(losses.double().sum()), count + len(x)
        loss = sum_ / count
        if self.processes.main:
            values = {"validation": loss}
            self.run.log.write(self.number, self.recipe.phase, self.done, self.seconds, values)
        if self.best is None or loss < self.best:
            self.best = loss
            if self.processes.main:
                with self._average_in_eval():
                    state = checkpoint.state_of(self.run.model)
                    meta = {"phase": self.number, "step": self.done, "validation": loss}
                    checkpoint.write(self.run.checkpoints / "best.safetensors", state, meta)

    def _picture(self) -> None:
        from .finishing import draw_picture

        if self.processes.main:
            path = self.run.folder / "samples" / f"{self.number:02d}-{self.done:09d}.png"
            with self._average_in_eval():
                if draw_picture(self.run.model, path, self.run.recipe.seed) and self.run.log is not None:
                    self.run.log.picture(self.recipe.phase, self.done, path)

    # --- checkpoints -----------------------------------------------------------------------------

    def _lost(self, e: Diverged) -> TrainingError:
        last = checkpoint.last_checkpoint(self.run.checkpoints)
        where = f"the last good checkpoint is {last}" if last else "there is no checkpoint yet"
        return TrainingError(
            f"{self.run.recipe.name}: {e} at step {self.done} of the phase {self.recipe.phase}; {where}",
            "lower the learning rate or clip the gradients (phases.N.clip_norm), and train again",
        )

    def _save(self) -> None:
        try:
            self.step.check_weights()
        except Diverged as e:
            raise self._lost(e) from None
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
        }
        write_checkpoint(run, self.number, self.done, tensors, meta)

    def _restore_model(self, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        checkpoint.load_into(self.run.model, _under("model.", tensors), "the checkpoint")
        self.done, self.seconds, self.best = meta["step"], meta["seconds"], meta["best"]

    def _restore_rest(self, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
        self.step.stream.position = meta["position"]
        for name, optimizer in self.step.optimizers.items():
            restore_state(optimizer, _under(f"optimizer.{name}/", tensors))
        if meta["averages"] is not None:
            self.ema = self._make_ema()
            checkpoint.load_into(self.ema.module, _under("ema.", tensors), "the checkpoint")
            self.ema.n_averaged.fill_(meta["averages"])
        if self.step.scaler is not None and meta["scaler"]:
            self.step.scaler.load_state_dict(meta["scaler"])
        self.phase.restore(_under("phase.", tensors))

    def _finish(self) -> None:
        if self.ema is not None:
            self.averaged.load_state_dict(self.ema.module.state_dict())
        names = {id(m): name for name, m in self.run.model.named_modules()}
        self.run.averaged[names.get(id(self.averaged), "")] = self.ema is not None
        self.phase.finish()
        self.step.stream.close()
        self.run.seconds += self.seconds
        self.run.steps += self.done


def write_checkpoint(run: Run, phase: int, step: int, tensors: dict[str, Any], meta: dict[str, Any]) -> None:
    """Writes the state of all processes; the main one's file, written last, makes it a checkpoint."""

    meta = {**meta, "run_seconds": run.seconds, "run_steps": run.steps, "averaged": run.averaged}
    path = checkpoint.checkpoint_path(run.checkpoints, phase, step, run.processes.rank)
    if not run.processes.main:  # weights and optimisers are equal everywhere
        checkpoint.write(path, {k: v for k, v in tensors.items() if k.startswith("phase.")}, meta)
    run.processes.barrier()
    if run.processes.main:
        checkpoint.write(path, tensors, meta)
        checkpoint.remove_older(run.checkpoints, path)


def read_checkpoint(run: Run, path: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    """Returns a checkpoint as this process sees it."""

    tensors, meta = checkpoint.read(path)
    if not run.processes.main:
        own = checkpoint.checkpoint_path(path.parent, meta["phase"], meta["step"], run.processes.rank)
        if own.exists():
            tensors = {k: v for k, v in tensors.items() if not k.startswith("phase.")} | checkpoint.read(own)[0]
    return tensors, meta


def _under(prefix: str, tensors: dict[str, Any]) -> dict[str, Any]:
    return {k[len(prefix) :]: v for k, v in tensors.items() if k.startswith(prefix)}


@contextmanager
def interruptible() -> Iterator[threading.Event]:
    """Yields an event that Ctrl-C and SIGTERM set; a second Ctrl-C interrupts at once."""

    event = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield event
        return

    def ask(number: int, frame: Any) -> None:
        if event.is_set():
            raise KeyboardInterrupt
        event.set()

    old = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield event
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
