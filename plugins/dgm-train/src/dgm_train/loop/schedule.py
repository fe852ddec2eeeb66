"""How long a phase is, and its learning rate on the way."""

from __future__ import annotations

import math

from dgmcore.errors import TrainingError

from ..recipe import MAX_STEPS, PhaseRecipe, Schedule
from .progress import Progress

__all__ = ["Budget", "learning_rate"]


class Budget:
    """The end of a phase: after so many steps, or after so much time.

    Arguments:
        recipe: The phase's recipe.
        data: The number of data in an epoch.
        progress: Where the phase begins or goes on. What is left of a budget in epochs is counted in data, so a run
            may go on with another batch size.

    Attributes:
        steps: The number of steps, None if the budget is in minutes.
        seconds: The time, None if the budget is in steps or epochs.

    Raises:
        TrainingError: If the budget is shorter than a step, longer than steps can be counted, or over before the first
            weights are averaged.
    """

    def __init__(self, recipe: PhaseRecipe, data: int, progress: Progress):
        self.steps = recipe.steps
        self.seconds = None if recipe.minutes is None else recipe.minutes * 60
        if recipe.epochs is not None:
            all_ = round(recipe.epochs * data / recipe.batch_size)
            if not 1 <= all_ <= MAX_STEPS:
                raise TrainingError(
                    f"{recipe.epochs:g} epochs of {data:,} data are {all_:.4g} steps of {recipe.batch_size}",
                    f"choose epochs and batch_size so that there are 1 to {MAX_STEPS:,}",
                )
            self.steps = progress.step + all_ - round(progress.seen / recipe.batch_size)

    def is_spent(self, progress: Progress) -> bool:
        """Whether the phase is at its end."""

        if self.steps is not None:
            return progress.step >= self.steps
        return progress.seconds >= (self.seconds or 0.0)

    def share(self, progress: Progress) -> float:
        """Returns how much of it is used, from 0 to 1."""

        if self.steps is not None:
            return min(progress.step / max(1, self.steps), 1.0)
        return min(progress.seconds / max(self.seconds or 0.0, 1e-9), 1.0)


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
