"""Errors that say what happened and what to do about it."""

from __future__ import annotations

import math
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor


class DgmError(Exception):
    """A failure that the user can act on; the command line prints it in two lines.

    Arguments:
        what: What went wrong, one line, without a full stop.
        hint: What to do about it, one line.
    """

    exit_code = 1

    def __init__(self, what: str, hint: str = ""):
        super().__init__(what)
        self.what = what
        self.hint = hint or "run the command again with --debug for the traceback"

    def __str__(self) -> str:
        return f"{self.what} ({self.hint})"

    def __reduce__(self) -> tuple[type[DgmError], tuple[str, str]]:
        return type(self), (self.what, self.hint)


class UsageError(DgmError):
    """The command was called wrongly (exit code 2)."""

    exit_code = 2


class OptionError(UsageError):
    """An option (``--set``) is unknown or of the wrong type (exit code 2)."""


class RegistryError(DgmError):
    """An entry is invalid, unknown or ambiguous."""


class WeightsError(DgmError):
    """Weights are missing, damaged, or do not fit the model."""


class PluginError(DgmError):
    """A plugin is broken, incompatible, blocked, or asks for what is taken."""


class CapabilityError(UsageError, AttributeError):
    """A model is asked for what it can't do, as the `log_prob` of what has no density (exit code 2)."""


class DataError(DgmError):
    """A data set or data file is missing or unusable."""


class NotFiniteError(DgmError):
    """A result has numbers that are not finite, so it is not passed on."""


class TrainingError(DgmError):
    """A training run can't go on."""


def require_path(value: object, what: str) -> str:
    """Returns a name or a path as text; raises a UsageError for what is neither, called `what`."""
    if not isinstance(value, str | os.PathLike):
        raise UsageError(f"{what} can't be a {type(value).__name__}", "give a name or a path")
    return os.fspath(value)


def require_finite(x: Tensor | np.ndarray | float, what: str, hint: str) -> None:
    """Refuses NaN and infinity.

    Arguments:
        x: A number, or an array or tensor of numbers.
        what: What they are, such as `samples 0 to 15`.
        hint: What to do about it, one line.

    Raises:
        NotFiniteError: If one of them is not finite; it says how many of how many.

    Example:
        >>> require_finite(float("nan"), "the mean", "leave out the data that are far away")
        Traceback (most recent call last):
        dgmcore.errors.NotFiniteError: the mean is nan (leave out the data that are far away)
    """
    if isinstance(x, (int, float)):
        if not math.isfinite(x):
            raise NotFiniteError(f"{what} is {x}", hint)
        return
    import numpy as np

    finite = np.isfinite(x) if isinstance(x, np.ndarray) else x.isfinite()
    wrong = math.prod(x.shape) - int(finite.sum())
    if wrong:
        raise NotFiniteError(f"{wrong:,} of {math.prod(x.shape):,} values of {what} are not finite", hint)
