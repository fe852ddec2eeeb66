"""What a phase says while it trains: its log, a progress bar, and how long it will take."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from dgmcore.console import progress as progress_bar
from dgmcore.console import say, size

from ..parallel.distributed import hardware
from .schedule import Budget
from .state import PhaseState, Run
from .step import EngineStep

__all__ = ["Report", "duration"]

LOG_STEPS, LOG_SECONDS = 50, 15.0
SHOW_SECONDS = 0.2
TIMED_STEPS, TIMED_SECONDS, FEW_STEPS = 20, 2.0, 3  # a step's time is known after so many, or after a while and a few


class Report:
    """Watches a phase and changes nothing of it; the main process writes.

    Arguments:
        run: The run.
        state: The phase's state.
        step: What the phase logs.
        budget: The phase's length.
    """

    def __init__(self, run: Run, state: PhaseState, step: EngineStep, budget: Budget):
        self.run, self.state, self.step, self.budget = run, state, step, budget
        self._bar = ExitStack()
        self._at = self._shown = self._logged = 0.0
        self._values: dict[str, float] = {}

    def __enter__(self) -> Report:
        if self.run.processes.main:
            self._forecast = _Forecast(self.run, self.state, self.budget)
            label = f"{self.run.recipe.name}: {self._forecast.phase}"
            total, unit = (self.budget.seconds, "s") if self.budget.steps is None else (self.budget.steps, "steps")
            self._advance = self._bar.enter_context(progress_bar(label, total, unit))
            self._show()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._log()
        if self.run.processes.main:
            self._show()
        self._bar.__exit__(kind, error, trace)

    def after_step(self, now: float) -> None:
        """Does what is due after a step, at the time `now`; raises `Diverged` if a loss turns out to be bad."""

        done = self.state.progress.step
        if done % LOG_STEPS == 0:
            self.step.look()
        if done % LOG_STEPS == 0 or done == 1 or now - self._logged > LOG_SECONDS:
            self._log()
            self._logged = now
        if self.run.processes.main:
            self._forecast.after_step(now)
            if now - self._shown > SHOW_SECONDS:
                self._show()
                self._shown = now

    def record(self, values: dict[str, float]) -> None:
        """Writes a line of the log."""

        if self.run.log is not None:
            p = self.state.progress
            self.run.log.write(p.phase, self.state.recipe.phase, p.step, p.seconds, values)

    def _log(self) -> None:
        """Writes the means since the last line."""

        values = self.step.meter.read()
        if not values:
            return
        self._values = values
        rates = {
            "lr" if len(self.state.optimizers) == 1 else f"lr_{name}": optimizer.param_groups[0]["lr"]
            for name, optimizer in self.state.optimizers.items()
        }
        self.record({**values, **rates, "progress": self.step.progress})

    def _show(self) -> None:
        p = self.state.progress
        fields: dict[str, Any] = {} if self.budget.seconds is None else {"step": p.step}
        fields |= self.step.last or {k: v for k, v in self._values.items() if k.startswith("loss")}
        at = p.step if self.budget.seconds is None else min(p.seconds, self.budget.seconds)
        self._advance(at - self._at, **fields)
        self._at = at


class _Forecast:
    """Says what a phase trains, and, as soon as that is known, what a step, the whole and a checkpoint take."""

    def __init__(self, run: Run, state: PhaseState, budget: Budget):
        self.state, self.budget = state, budget
        self.phase = state.recipe.phase.rpartition(":")[2]
        self._begin = state.progress.step
        self._first = 0.0  # when the first step was done, which takes longer than the others
        self._said = False
        moved = {p for o in state.optimizers.values() for group in o.param_groups for p in group["params"]}
        trained, whole = sum(p.numel() for p in moved), run.model.num_parameters()
        weights = f"{whole:,} weights" if trained == whole else f"{trained:,} of {whole:,} weights"
        goes_on = f", from step {self._begin:,}" if self._begin else ""
        say(f"{run.recipe.name}: {self.phase} trains {weights} on {hardware(run.processes.device)}{goes_on}")

    def after_step(self, now: float) -> None:
        steps = self.state.progress.step - self._begin - 1
        if not steps:
            self._first = now
        known = steps >= TIMED_STEPS or (steps >= FEW_STEPS and now - self._first > TIMED_SECONDS)
        if self._said or not known:
            return
        self._said, each = True, (now - self._first) / steps
        if self.budget.seconds is not None:
            whole = f"about {self.budget.seconds / each:,.0f} steps in {duration(self.budget.seconds)}"
        else:
            left = (self.budget.steps or 0) - self._begin
            whole = f"{left:,} steps take about {duration(left * each)}"
        say(f"{self.phase}: {each:.2g} s a step, {whole}; a checkpoint takes {size(self.state.size())}")


def duration(seconds: float) -> str:
    """Returns a time as people say it.

    Example:
        >>> duration(7.3), duration(100), duration(5400)
        ('7.3 s', '1.7 min', '1.5 h')
    """

    unit, length = next((u, n) for u, n in (("h", 3600), ("min", 60), ("s", 1)) if seconds >= n or n == 1)
    value = seconds / length
    return f"{value:.1f} {unit}" if value < 10 else f"{value:,.0f} {unit}"
