"""The loop of one phase, from its first step or from a checkpoint to its last."""

from __future__ import annotations

import time

from dgmcore.console import say
from dgmcore.errors import TrainingError

from ..results.samples import draw_picture
from . import checkpoint
from .checkpoint import Checkpoint
from .progress import Progress, Totals
from .report import Report
from .schedule import Budget
from .state import Diverged, PhaseState, Run
from .step import EngineStep, explained
from .validation import as_it_will_be, validation_loss

__all__ = ["PhaseRun"]


class PhaseRun:
    """A phase in a run.

    Arguments:
        run: The run.
        number: The phase's number.
        totals: What the phases before add up to.
        saved: The checkpoint from which the run goes on in this phase.

    Raises:
        TrainingError: If the phase can't be trained so, or can't go on from there. Nothing is written yet.
    """

    def __init__(self, run: Run, number: int, totals: Totals, saved: Checkpoint | None = None):
        self.run = run
        self.state = PhaseState(run, Progress(phase=number, run=totals))
        if saved is not None:
            self.state.restore(saved)
        else:
            run.processes.start_equal([run.model])
        self.recipe = self.state.recipe
        self.budget = Budget(self.recipe, len(run.data), self.state.progress)
        self.step = EngineStep(self.state, self.budget, run.processes, run.recipe.seed)
        self.report = Report(run, self.state, self.step, self.budget)
        self.best_file = run.folder.checkpoints / f"best-{number:02d}.safetensors"
        if saved is None:
            self._set_up()

    def _set_up(self) -> None:
        """Lets the phase look at data before its first step."""

        self.step.start("setup")
        try:
            with explained(self.state), self.step.autocast():
                self.state.phase.setup(self.step)
        except Diverged as e:
            raise self._lost(e) from None
        self.step.meter.read()
        self.run.processes.start_equal([self.run.model])

    def train(self) -> Totals:
        """Trains to the end of the budget, and leaves the phase's (averaged) weights in the model.

        Returns:
            What all phases so far add up to.

        Raises:
            TrainingError: If a loss or a weight is not finite, or if somebody stops the run.
        """

        try:
            with self.report:
                self._steps()
            self._save()
            return self._finish()
        except Diverged as e:
            raise self._lost(e) from None

    def _steps(self) -> None:
        progress = self.state.progress
        started, saved = time.monotonic() - progress.seconds, time.monotonic()
        while not self.budget.is_spent(progress):
            self._one_step()
            now = time.monotonic()
            progress.seconds, stop, save = self._agree(now - started, now - saved)
            self._after_step(now)
            if save or stop:
                self._save()
                saved = time.monotonic()
            if stop:
                what = f"stopped at step {progress.step} of {self.recipe.phase}, checkpoint written"
                raise TrainingError(f"{self.run.recipe.name}: {what}", "go on with --resume")

    def _one_step(self) -> None:
        progress = self.state.progress
        self.step.start()
        with explained(self.state), self.step.autocast():
            self.state.phase.step(self.step)
        self.run.processes.average_buffers(self.run.model)
        self.state.ema.update(progress.step)
        progress.step += 1
        progress.seen += self.recipe.batch_size

    def _agree(self, seconds: float, since_saved: float) -> tuple[float, bool, bool]:
        """Returns the seconds used, whether to stop and whether to save: as the main process says."""

        recipe = self.run.recipe
        save = since_saved > recipe.checkpoint_minutes * 60 or self._due(recipe.checkpoint_steps)
        agreed = self.run.processes.agree([seconds, self.run.stop.is_set(), save])
        return agreed[0], bool(agreed[1]), bool(agreed[2])

    def _due(self, every: int | None) -> bool:
        return bool(every) and self.state.progress.step % (every or 1) == 0

    def _after_step(self, now: float) -> None:
        self.report.after_step(now)
        if self._due(self.run.recipe.validate_every):
            self._validate()
        if self._due(self.run.recipe.samples_every) and self.run.processes.main:
            self._draw()

    def _validate(self) -> None:
        """Measures the loss on held-out data, and keeps the weights if they are the best so far."""

        loss, progress = validation_loss(self.run, self.state), self.state.progress
        if loss is None:
            if self.recipe.keep == "best":
                kind = type(self.state.phase).__name__
                raise TrainingError(f"keep: best, but {kind} has no validation loss", "use keep: last")
            return
        self.report.record({"validation": loss})
        if loss < (float("inf") if progress.best is None else progress.best):
            progress.best = loss
            if self.run.processes.main:
                with self.state.ema.applied():
                    checkpoint.write(self.best_file, Checkpoint(checkpoint.state_of(self.run.model), progress))

    def _draw(self) -> None:
        progress = self.state.progress
        path = self.run.folder.path / "samples" / f"{progress.phase:02d}-{progress.step:09d}.png"
        with as_it_will_be(self.state):
            drawn = draw_picture(self.run.model, path, self.run.recipe.seed)
        if drawn and self.run.log is not None:
            self.run.log.picture(self.recipe.phase, progress.step, path)

    # --- ends ------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Writes a checkpoint; raises `Diverged` if the weights are not worth it."""

        self.step.look()
        checkpoint.write_shared(self.run.folder.checkpoints, self.run.processes, self.state.checkpoint())

    def _finish(self) -> Totals:
        state, progress = self.state, self.state.progress
        if self.recipe.keep == "best" and progress.best is not None:
            checkpoint.load_into(self.run.model, checkpoint.read(self.best_file).tensors, "the best checkpoint")
        else:
            state.ema.load()
        if state.ema.decay is not None and state.ema.average is None and self.run.processes.main:  # a short trial
            first = f"step {self.recipe.ema_from}, the first of the average"
            say(f"{self.recipe.phase}: {progress.step} steps did not reach {first}: the weights are the last ones")
        state.phase.finish()
        if not state.is_finite():
            raise Diverged("a weight is not finite after the end")
        state.stream.close()
        names = {id(module): name for name, module in self.run.model.named_modules()}
        averaged = {names.get(id(state.ema.module), ""): state.ema.average is not None}
        before = progress.run
        return Totals(
            seconds=before.seconds + progress.seconds,
            steps=before.steps + progress.step,
            noise=before.noise,
            averaged={**before.averaged, **averaged},
            legs=before.legs,
        )

    def _lost(self, e: Diverged) -> TrainingError:
        last = checkpoint.last_checkpoint(self.run.folder.checkpoints)
        where = f"the last good checkpoint is {last}" if last else "there was no checkpoint yet"
        progress = self.state.progress
        return TrainingError(
            f"{self.run.recipe.name}: {e} at step {progress.step} of {self.recipe.phase}; {where}",
            f"--resume with a lower learning rate or clipped gradients, as --set phases.{progress.phase}.clip_norm=1",
        )
