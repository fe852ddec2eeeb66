"""What a phase says while it trains: its log, a progress bar, and how long it will take."""

from __future__ import annotations

from contextlib import ExitStack
from types import TracebackType
from typing import Any

from dgmcore.console import progress as progress_bar
from dgmcore.console import say, size

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
        self._first: tuple[int, float] | None = None  # a step, and when it was done; None when the time was said

    def __enter__(self) -> Report:
        if self.run.processes.main:
            label = f"{self.run.recipe.name}: {self.state.recipe.phase.rpartition(':')[2]}"
            total, unit = (self.budget.seconds, "s") if self.budget.steps is None else (self.budget.steps, "steps")
            self._advance = self._bar.enter_context(progress_bar(label, total, unit))
            self._show()
            self._first = -1, 0.0
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
        if not self.run.processes.main:
            return
        if now - self._shown > SHOW_SECONDS:
            self._show()
            self._shown = now
        if self._first is not None:
            self._say_time(done, now)

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

    def _say_time(self, done: int, now: float) -> None:
        """Says once what a step takes, as soon as that is known; the first step does not count."""

        assert self._first is not None
        if self._first[0] < 0:
            self._first = done, now
        steps, seconds = done - self._first[0], now - self._first[1]
        if steps < FEW_STEPS or (steps < TIMED_STEPS and seconds < TIMED_SECONDS):
            return
        self._first, each = None, seconds / steps
        if self.budget.steps is None:
            whole = f"{duration(self.budget.seconds or 0.0)} are about {(self.budget.seconds or 0.0) / each:,.0f} steps"
        else:
            whole = f"{self.budget.steps:,} steps take about {duration(self.budget.steps * each)}"
        say(
            f"{self.state.recipe.phase.rpartition(':')[2]}: {each:.2g} s a step, {whole}; "
            f"a checkpoint takes {size(self.state.size())}"
        )


def duration(seconds: float) -> str:
    """Returns a time as people say it.

    Example:
        >>> duration(100), duration(5400)
        ('100 s', '1.5 h')
    """

    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length or (unit == "h" and seconds >= length):
            return f"{seconds / length:.2g} {unit}"
    return f"{seconds:.3g} s"
